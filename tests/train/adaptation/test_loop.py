"""The adaptation loop: optimiser against the reference, determinism, resuming, freezing, data-parallel gradients."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, multiprocessing

from ifseg_rt.errors import CheckpointError, UsageError
from train import load_model
from train.adaptation.artificial import resize_grid
from train.adaptation.loop import Adaptation, AdaptationConfig
from train.adaptation.objective import upsampled_cross_entropy
from train.adaptation.optimiser import ReferenceAdam, learning_rate
from train.loaded_model import LoadedModel
from train.models.ofa.model import IFSegModel

Make = Callable[..., LoadedModel[IFSegModel]]
DEAD = (".k_proj.bias", "pos_k_linear.bias")  # zero gradient by mathematics, noise in practice (spec 11.3)


def test_schedule_is_a_cosine_from_the_peak_to_zero():
    assert learning_rate(0, 2000, 5e-5) == 5e-5
    assert learning_rate(1000, 2000, 5e-5) == pytest.approx(2.5e-5)
    assert learning_rate(2000, 2000, 5e-5) == pytest.approx(0)


def test_three_golden_updates(golden, weights, bpe):
    arrays = np.load(golden / "train.npz")
    facts = json.loads((golden / "train_meta.json").read_text(encoding="utf-8"))
    model = load_model(weights / "ckpt_ifseg.pt", tokenizer=bpe)
    model.freeze_for_adaptation()
    names, parameters = zip(*model.trainable_parameters(), strict=True)
    start = {name: p.detach().clone() for name, p in zip(names, parameters, strict=True)}
    optimiser = ReferenceAdam(parameters, 5e-5, 2000)
    for wanted in facts["steps"]:
        grids = []
        for seed in wanted["seeds"]:
            height, width = torch.randint(1, 33, (2,), generator=torch.Generator().manual_seed(seed)).tolist()
            cells = np.random.RandomState(seed).choice(len(facts["categories"]), height * width)
            grids.append(torch.from_numpy(cells.reshape(height, width)))
        maps = torch.stack([resize_grid(g, 32) for g in grids])
        target = torch.stack([resize_grid(g, 512) for g in grids])
        loss = upsampled_cross_entropy(model.forward_artificial(maps), target)
        loss.backward()
        assert loss.item() == pytest.approx(wanted["loss"], abs=5e-6)
        assert learning_rate(optimiser.update, 2000, 5e-5) == pytest.approx(wanted["lr"], rel=1e-9)
        assert optimiser.step() == pytest.approx(wanted["grad_norm_before_clip"], rel=1e-5)
    checked = 0
    for name, parameter in zip(names, parameters, strict=True):
        if f"step3/{name}/new" not in arrays or name.endswith(DEAD):
            continue
        new = parameter.detach().flatten()[torch.from_numpy(arrays[f"step3/{name}/idx"].astype(np.int64)).flatten()]
        np.testing.assert_allclose(new, arrays[f"step3/{name}/new"].ravel(), atol=2e-6, err_msg=name)
        delta = (parameter.detach() - start[name]).norm().item()
        assert delta == pytest.approx(float(arrays[f"step3/{name}/delta_norm"]), rel=1e-3), name
        checked += 1
    assert checked >= 4


def test_same_seed_same_result_and_another_seed_another(
    make_small: Make, two_updates: AdaptationConfig, uninterrupted: tuple[float, dict[str, Tensor]]
):
    for seed in (0, 1):
        model = make_small()
        loss = Adaptation(model, replace(two_updates, seed=seed)).run()
        same = all(torch.equal(value, uninterrupted[1][name]) for name, value in model.state_dict().items())
        assert same is (loss == uninterrupted[0]) is (seed == 0)


def test_global_random_state_is_left_alone(small_model: LoadedModel[IFSegModel]):
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    Adaptation(small_model, AdaptationConfig(steps=1, batch_size=1)).run()
    assert torch.equal(torch.rand(3), expected)


def test_resumed_equals_uninterrupted(
    make_small: Make,
    two_updates: AdaptationConfig,
    interrupted: Callable[[AdaptationConfig], Adaptation],
    uninterrupted: tuple[float, dict[str, Tensor]],
    tmp_path: Path,
):
    torch.save(interrupted(two_updates).state(), tmp_path / "r.pt")
    model = make_small()
    resumed = Adaptation(model, two_updates)
    resumed.restore(torch.load(tmp_path / "r.pt", weights_only=True))
    assert resumed.run() == uninterrupted[0]
    for name, value in model.state_dict().items():
        assert torch.equal(value, uninterrupted[1][name]), name


def test_resume_of_another_adaptation_is_refused(make_small: Make):
    model = make_small()
    state = Adaptation(model, AdaptationConfig(steps=4, batch_size=2)).state()
    for other in (AdaptationConfig(steps=5, batch_size=2), AdaptationConfig(steps=4, batch_size=2, seed=1)):
        with pytest.raises(CheckpointError, match="another adaptation"):
            Adaptation(model, other).restore(state)


def test_frozen_parts_stay_the_rest_moves_and_the_loss_falls(small_model: LoadedModel[IFSegModel]):
    before = {name: value.clone() for name, value in small_model.state_dict().items()}
    losses: list[float] = []
    Adaptation(small_model, AdaptationConfig(steps=8, batch_size=1, lr=3e-3)).run(lambda p: losses.append(p.loss))
    frozen = ("encoder.embed_tokens.", "encoder.embed_images.", "encoder.image_proj.")
    for name, value in small_model.state_dict().items():
        if name.startswith(frozen):
            assert torch.equal(value, before[name]), name
    moved = small_model.state_dict()["decoder.layers.0.fc1.weight"]
    assert not torch.equal(moved, before["decoder.layers.0.fc1.weight"])
    assert not small_model.training
    assert math.isfinite(losses[-1]) and min(losses[-3:]) < losses[0]


def test_settings_that_cannot_be_meant():
    for wrong in ({"steps": -1}, {"batch_size": 0}, {"lr": 0.0}, {"lr": float("nan")}):
        with pytest.raises(UsageError):
            AdaptationConfig(**wrong)


def replica(rank: int, shared: LoadedModel[IFSegModel], meeting: str, out: str) -> None:
    torch.set_num_threads(1)
    model = copy.deepcopy(shared)
    torch.distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    Adaptation(model, AdaptationConfig(steps=1, batch_size=2)).run()
    torch.save(model.state_dict(), f"{out}{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_processes_stay_in_step(small_model: LoadedModel[IFSegModel], tmp_path: Path):
    start = {name: value.clone() for name, value in small_model.state_dict().items()}
    multiprocessing.spawn(replica, (small_model, str(tmp_path / "meet"), str(tmp_path / "out")), nprocs=2)
    one, two = (torch.load(tmp_path / f"out{r}.pt", weights_only=True) for r in (0, 1))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert any(not torch.equal(one[name], start[name]) for name in one)


def test_processes_of_the_same_gradient_do_what_one_does(
    make_small: Make,
    two_updates: AdaptationConfig,
    uninterrupted: tuple[float, dict[str, Tensor]],
    monkeypatch: pytest.MonkeyPatch,
):
    model = make_small()
    adaptation = Adaptation(model, two_updates)
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda flat: flat.mul_(2))
    monkeypatch.setattr(adaptation, "world", 2)
    adaptation.config = replace(two_updates, batch_size=2)
    assert adaptation.run() == uninterrupted[0]
    assert all(torch.equal(value, uninterrupted[1][name]) for name, value in model.state_dict().items())


def test_an_overflow_in_one_process_is_seen_by_every_scaler(
    small_model: LoadedModel[IFSegModel], monkeypatch: pytest.MonkeyPatch
):
    start = {name: value.clone() for name, value in small_model.state_dict().items()}
    adaptation = Adaptation(small_model, AdaptationConfig(steps=1, batch_size=2))
    adaptation.scaler = torch.amp.GradScaler("cpu", init_scale=128.0)
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda flat: flat.add_(math.inf))
    monkeypatch.setattr(adaptation, "world", 2)
    adaptation.run()
    assert adaptation.scaler.get_scale() == 64.0
    assert all(torch.equal(value, start[name]) for name, value in small_model.state_dict().items())


def test_a_loss_that_is_not_finite_ends_the_adaptation_before_an_update(small_model: LoadedModel[IFSegModel]):
    model = small_model
    with torch.no_grad():
        model.decoder.layers[0].fc1.weight[0, 0] = float("nan")
    start = [p.clone() for p in model.parameters()]
    adaptation = Adaptation(model, AdaptationConfig(steps=2, batch_size=1))
    with pytest.raises(CheckpointError, match="loss is not finite at step 1"):
        adaptation.run()
    assert adaptation.step == 0
    assert all(torch.equal(a, b) or a.isnan().any() for a, b in zip(start, model.parameters(), strict=True))
