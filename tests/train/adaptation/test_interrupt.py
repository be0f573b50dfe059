"""Ctrl-C: an update is whole or has not been, and what was remembered is delivered once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from types import FrameType

import pytest
import torch

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


@pytest.mark.parametrize("times", [1, 2, 5])
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


CONFIG = AdaptationConfig(steps=3, batch_size=1)


def weights(model: IFSegModel) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


@pytest.mark.parametrize("times", [1, 2])
def test_pressed_within_an_update_the_update_is_completed(
    times: int, small_model: LoadedModel[IFSegModel], monkeypatch: pytest.MonkeyPatch
):
    start = {name: value.clone() for name, value in small_model.state_dict().items()}
    whole = Adaptation(small_model, CONFIG)
    loss = whole.run()
    wanted = weights(small_model.module)

    small_model.load_state_dict(start)
    adaptation = Adaptation(small_model, CONFIG)
    real = adaptation.optimiser.adam.step

    def pressed_before_and_after() -> None:
        for _ in range(times):
            press()
        real()
        press()

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(adaptation.optimiser.adam, "step", pressed_before_and_after)
        adaptation.run()
    assert adaptation.step == adaptation.optimiser.update == 1
    assert {int(entry["step"]) for entry in adaptation.optimiser.adam.state.values()} == {1}
    assert not small_model.training
    assert adaptation.run() == loss and torch.equal(weights(small_model.module), wanted)


def test_pressed_within_the_backward_pass_the_update_has_not_been(
    small_model: LoadedModel[IFSegModel], monkeypatch: pytest.MonkeyPatch
):
    """Gradients that were already there must not be added to those of the repetition."""
    start = {name: value.clone() for name, value in small_model.state_dict().items()}
    loss = Adaptation(small_model, CONFIG).run()
    wanted = weights(small_model.module)

    small_model.load_state_dict(start)
    adaptation = Adaptation(small_model, CONFIG)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(adaptation, "_mean_over_processes", lambda _: press())
        adaptation.run()
    assert adaptation.step == adaptation.optimiser.update == 0
    assert any(p.grad is not None for p in small_model.parameters())
    assert adaptation.run() == loss and torch.equal(weights(small_model.module), wanted)
