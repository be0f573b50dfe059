"""Ctrl-C: an update is whole or has not been, and what was remembered is delivered once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from types import FrameType

import pytest
import torch
from torch import Tensor

from train.adaptation.interrupt import interrupt_held_back
from train.adaptation.loop import Adaptation, AdaptationConfig
from train.loaded_model import LoadedModel
from train.models.ofa.model import IFSegModel


@pytest.fixture(autouse=True)
def python_s_own_handler() -> Iterator[None]:
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, previous)


def press() -> None:
    signal.raise_signal(signal.SIGINT)


def test_nothing_pressed_nothing_happens():
    with interrupt_held_back():
        pass
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("times", [1, 3])
def test_delivered_on_the_way_out_and_once(times: int):
    calls: list[int] = []

    def count(number: int, _: FrameType | None) -> None:
        calls.append(number)
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, count)
    done = False
    with pytest.raises(KeyboardInterrupt), interrupt_held_back():
        for _ in range(times):
            press()
        done = True
    assert done and calls == [signal.SIGINT] and signal.getsignal(signal.SIGINT) is count


def test_an_error_on_its_way_is_kept():
    with pytest.raises(ZeroDivisionError), interrupt_held_back():
        press()
        raise ZeroDivisionError
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_the_outer_block_delivers():
    reached: list[str] = []
    with pytest.raises(KeyboardInterrupt), interrupt_held_back():
        with interrupt_held_back():
            press()
            reached.append("inner")
        reached.append("outer")
    assert reached == ["inner", "outer"]


def test_ignored_stays_ignored():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with interrupt_held_back():
        press()
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_another_thread_changes_no_handlers():
    found: list[object] = []

    def work() -> None:
        with interrupt_held_back():
            found.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [signal.default_int_handler]


def equal(model: LoadedModel[IFSegModel], wanted: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, wanted[name]) for name, value in model.state_dict().items())


def test_pressed_within_an_update_the_update_is_completed(
    small_model: LoadedModel[IFSegModel],
    two_updates: AdaptationConfig,
    uninterrupted: tuple[float, dict[str, Tensor]],
    monkeypatch: pytest.MonkeyPatch,
):
    adaptation = Adaptation(small_model, two_updates)
    real = adaptation.optimiser.adam.step

    def pressed_before_and_after() -> None:
        press()
        press()
        real()
        press()

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(adaptation.optimiser.adam, "step", pressed_before_and_after)
        adaptation.run()
    assert adaptation.step == adaptation.optimiser.update == 1
    assert {int(entry["step"]) for entry in adaptation.optimiser.adam.state.values()} == {1}
    assert not small_model.training
    assert adaptation.run() == uninterrupted[0] and equal(small_model, uninterrupted[1])


def test_pressed_within_the_backward_pass_the_update_has_not_been(
    small_model: LoadedModel[IFSegModel], two_updates: AdaptationConfig, uninterrupted: tuple[float, dict[str, Tensor]]
):
    """Gradients that were already there must not be added to those of the repetition."""
    adaptation = Adaptation(small_model, two_updates)
    last = small_model.encoder.layers[0].fc1.weight  # of a backward pass
    handle = last.register_hook(lambda _: press())
    with pytest.raises(KeyboardInterrupt):
        adaptation.run()
    handle.remove()
    assert adaptation.step == adaptation.optimiser.update == 0
    assert any(p.grad is not None for p in small_model.parameters())
    assert adaptation.run() == uninterrupted[0] and equal(small_model, uninterrupted[1])
