"""Resume files: what fits is taken over whole, what does not is named, and nothing has changed then."""

from __future__ import annotations

import copy
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ifseg_rt.errors import CheckpointError
from train.adaptation.loop import Adaptation, AdaptationConfig
from train.adaptation.resume import read_resume
from train.checkpoints.own import write_atomically
from train.loaded_model import LoadedModel
from train.models.ofa.model import IFSegModel

CONFIG = AdaptationConfig(steps=3, batch_size=1)
WEIGHT = "decoder.layers.0.fc1.weight"
State = dict[str, Any]


Interrupt = Callable[[AdaptationConfig], Adaptation]


@pytest.fixture
def adaptation(interrupted: Interrupt) -> Adaptation:
    """Interrupted after the first of three updates."""
    return interrupted(CONFIG)


@pytest.fixture(scope="module")
def untouched(interrupted: Interrupt) -> Adaptation:
    """The same for tests in which nothing of it changes."""
    return interrupted(CONFIG)


@pytest.fixture
def state(untouched: Adaptation) -> State:
    return copy.deepcopy(untouched.state())


def everything(adaptation: Adaptation) -> tuple[Any, ...]:
    """Whatever a resume file can change, copied."""
    tensors = [*adaptation.model.state_dict().values()]
    tensors += [value for entry in adaptation.optimiser.adam.state.values() for value in entry.values()]
    groups = [{k: v for k, v in group.items() if k != "params"} for group in adaptation.optimiser.adam.param_groups]
    counters = (adaptation.step, adaptation.loss, adaptation.optimiser.update, adaptation.scaler.state_dict())
    return [t.clone() for t in tensors], copy.deepcopy(groups), counters


def entry(state: State, index: int = 0) -> State:
    found: State = state["optimiser"]["state"][index]
    return found


def put(*path: Any, value: Any) -> Callable[[State], None]:
    def damage(state: State) -> None:
        for key in path[:-1]:
            state = state[key]
        state[path[-1]] = value

    return damage


def drop(*path: Any) -> Callable[[State], None]:
    def damage(state: State) -> None:
        for key in path[:-1]:
            state = state[key]
        del state[path[-1]]

    return damage


def not_a_number(*path: Any) -> Callable[[State], None]:
    def damage(state: State) -> None:
        for key in path:
            state = state[key]
        state.view(-1)[0] = float("nan")  # type: ignore[attr-defined]

    return damage


OPTIMISER = ("optimiser", "state")
DAMAGES: dict[str, tuple[Callable[[State], None], str]] = {
    "no step": (drop("step"), "step None of 3"),
    "step 99 of 3": (put("step", value=99), "step 99 of 3"),
    "negative step": (put("step", value=-1), "step -1 of 3"),
    "step a half": (put("step", value=0.5), "step 0.5 of 3"),
    "step true": (put("step", value=True), "step True of 3"),
    "no loss": (drop("loss"), "its loss is None"),
    "loss a word": (put("loss", value="low"), "its loss is 'low'"),
    "no weights": (drop("model"), "it has no weights"),
    "a weight missing": (drop("model", WEIGHT), f"1 weights missing, {WEIGHT} first"),
    "a weight too many": (put("model", "extra", value=torch.zeros(1)), "1 weights too many, extra first"),
    "a weight of another shape": (
        put("model", WEIGHT, value=torch.zeros(2, 3)),
        f"{WEIGHT} is float32 \\[2, 3\\], expected float32 \\[16, 16\\]",
    ),
    "a weight of another dtype": (put("model", WEIGHT, value=torch.zeros(16, 16, dtype=torch.int8)), "is int8"),
    "a weight a word": (put("model", WEIGHT, value="heavy"), f"{WEIGHT} is no tensor"),
    "a sparse weight": (put("model", WEIGHT, value=torch.zeros(16, 16).to_sparse()), f"{WEIGHT} is no tensor"),
    "a weight not a number": (not_a_number("model", WEIGHT), f"{WEIGHT} holds numbers that are not finite"),
    "no optimiser": (drop("optimiser"), "no optimiser state"),
    "optimiser without state": (put("optimiser", value={}), "no optimiser state"),
    "empty optimiser": (put(*OPTIMISER, value={}), "its optimiser is of 0 parameters"),
    "a smaller optimiser": (drop(*OPTIMISER, 0), "its optimiser is of"),
    "another optimiser's entries": (
        put(*OPTIMISER, 0, value={"step": torch.tensor(1.0), "momentum_buffer": torch.zeros(3)}),
        "exp_avg of parameter 0 is no tensor",
    ),
    "entries not by name": (put(*OPTIMISER, 0, value=[1.0]), "its optimiser is of"),
    "moments of another shape": (put(*OPTIMISER, 3, "exp_avg", value=torch.zeros(1)), "exp_avg of parameter 3 is"),
    "moments not a number": (not_a_number(*OPTIMISER, 3, "exp_avg_sq"), "exp_avg_sq of parameter 3 holds numbers"),
    "a negative square": (
        lambda state: entry(state, 3)["exp_avg_sq"].fill_(-1.0),
        "exp_avg_sq of parameter 3 is negative",
    ),
    "no count of updates": (drop(*OPTIMISER, 2, "step"), "step of parameter 2 is no tensor"),
    "too many updates": (put(*OPTIMISER, 0, "step", value=torch.tensor(9.0)), "step of parameter 0 is 9 after 1"),
    "different updates": (put(*OPTIMISER, 2, "step", value=torch.tensor(0.5)), "step of parameter 2 is 0.5 after 1"),
    "no scaler": (drop("scaler"), "it has no loss scaler"),
    "scale a word": (put("scaler", value={"scale": "big"}), "its loss scale is 'big'"),
    "scale zero": (put("scaler", value={"scale": 0.0}), "its loss scale is 0.0"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_named_and_changes_nothing(name: str, untouched: Adaptation, state: State):
    damage, words = DAMAGES[name]
    damage(state)
    before = everything(untouched)
    with pytest.raises(CheckpointError, match=rf"^ck\.resume is damaged: .*{words}") as error:
        untouched.restore(state, "ck.resume")
    assert error.value.hint == "delete it to start again"
    after = everything(untouched)
    assert all(torch.equal(a, b) for a, b in zip(before[0], after[0], strict=True))
    assert before[1:] == after[1:]


@pytest.mark.parametrize("document", [None, [], torch.zeros(2), {}, {"format": "ifseg-rt-checkpoint"}])
def test_something_else_is_refused(document: object, untouched: Adaptation):
    with pytest.raises(CheckpointError, match=r"^ck\.resume is not a resume file of ours"):
        untouched.restore(document, "ck.resume")


def test_settings_of_the_optimiser_are_not_taken_from_the_file(adaptation: Adaptation, state: State):
    state["optimiser"]["param_groups"] = [{"betas": (0.0, 0.0), "weight_decay": 9.0, "amsgrad": True, "params": []}]
    groups = everything(adaptation)[1]
    adaptation.restore(state)
    assert everything(adaptation)[1] == groups


def test_what_fits_is_taken_over_whole(adaptation: Adaptation, state: State):
    for tensor in state["model"].values():
        tensor += 1
    entry(state)["exp_avg"] += 1
    state["loss"] = 0.25
    adaptation.restore(state)
    assert (adaptation.step, adaptation.optimiser.update, adaptation.loss) == (1, 1, 0.25)
    assert all(torch.equal(value, state["model"][name]) for name, value in adaptation.model.state_dict().items())
    kept: Tensor = adaptation.optimiser.adam.state[adaptation.optimiser.parameters[0]]["exp_avg"]
    assert torch.equal(kept, entry(state)["exp_avg"])


def test_a_file_from_before_the_first_update(small_model: LoadedModel[IFSegModel]):
    fresh = Adaptation(small_model, CONFIG)
    fresh.restore(fresh.state())  # its loss is NaN: there was none
    assert fresh.step == 0 and not fresh.optimiser.adam.state


def scaled(adaptation: Adaptation) -> Adaptation:
    """Works on a CPU as well; elsewhere it is float16 that asks for it."""
    adaptation.scaler = torch.amp.GradScaler("cpu", init_scale=128.0, growth_interval=512)
    return adaptation


def test_the_loss_scale_goes_on_where_it_was(adaptation: Adaptation, state: State):
    state["scaler"] = {"scale": 32.0, "growth_factor": 9.0, "_growth_tracker": 7}
    found = scaled(adaptation)
    found.restore(state)
    assert found.scaler.state_dict()["scale"] == 32.0 and found.scaler.state_dict()["_growth_tracker"] == 7
    assert found.scaler.get_growth_factor() == 2.0


def test_a_file_of_a_device_without_loss_scale_and_back(adaptation: Adaptation, state: State):
    plain = adaptation.scaler
    found = scaled(adaptation)
    found.restore(state)
    assert found.scaler.get_scale() == 128.0
    with_scale = copy.deepcopy(found.state())
    assert with_scale["scaler"]["scale"] == 128.0
    found.scaler = plain
    found.restore(with_scale)
    assert found.step == 1


def test_a_file_in_which_every_update_overflowed(adaptation: Adaptation, state: State):
    state["scaler"] = {"scale": 64.0, "_growth_tracker": 0}
    state["optimiser"]["state"] = {}
    scaled(adaptation).restore(state)
    assert adaptation.step == 1 and not adaptation.optimiser.adam.state


def same(one: Any, two: Any) -> bool:
    if isinstance(one, Tensor):
        return torch.equal(one, two)
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(same(one[key], two[key]) for key in one)
    return bool(one == two)


@pytest.fixture
def document() -> State:
    """Small, but of the kinds of values that a resume file holds."""
    tensor = torch.arange(600, dtype=torch.float32)
    return {"format": "ifseg-rt-resume", "step": 1, "loss": 0.5, "model": {WEIGHT: tensor, "bias": tensor[:20] + 1}}


def test_a_flipped_bit_is_noticed_or_did_not_matter(document: State, tmp_path: Path):
    """Bytes between the entries of the archive mean nothing; of all others, even one within the numbers shows."""
    path = tmp_path / "ck.resume"
    write_atomically(document, path)
    whole = path.read_bytes()
    assert same(read_resume(path), document)
    place = random.Random(0)
    noticed = 0
    for index in place.sample(range(len(whole)), 300):
        damaged = bytearray(whole)
        damaged[index] ^= 1 << place.randrange(8)
        path.write_bytes(damaged)
        try:
            assert same(read_resume(path), document)
        except CheckpointError as error:
            assert "ck.resume" in str(error) and error.hint == "delete it to start again"
            noticed += 1
    assert noticed > 100


def test_a_flipped_bit_of_a_number_is_named(document: State, tmp_path: Path):
    path = tmp_path / "ck.resume"
    write_atomically(document, path)
    with zipfile.ZipFile(path) as archive:
        largest = max(archive.infolist(), key=lambda entry: entry.file_size)
        numbers = archive.read(largest)
    damaged = bytearray(path.read_bytes())
    damaged[damaged.index(numbers) + 4] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(CheckpointError, match=f"damaged: the checksum of {largest.filename} is wrong"):
        read_resume(path)


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04" + bytes(100)])
def test_no_archive(content: bytes, tmp_path: Path):
    path = tmp_path / "ck.resume"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"ck\.resume") as error:
        read_resume(path)
    assert error.value.hint == "delete it to start again"


def test_the_older_file_format_has_no_checksums_and_is_not_ours(document: State, tmp_path: Path):
    path = tmp_path / "ck.resume"
    torch.save(document, path, _use_new_zipfile_serialization=False)
    with pytest.raises(CheckpointError, match="not a zip file"):
        read_resume(path)
