"""The adaptation loop: optimiser against the reference, determinism, resuming, freezing, data-parallel gradients."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import multiprocessing

from ifseg_rt.errors import CheckpointError, UsageError
from train import load_model
from train.adaptation.artificial import resize_grid
from train.adaptation.loop import Adaptation, AdaptationConfig
from train.adaptation.objective import upsampled_cross_entropy
from train.adaptation.optimiser import ReferenceAdam, learning_rate
from train.loaded_model import LoadedModel, give_vocabulary
from train.models.ofa.config import ModelConfig
from train.models.ofa.model import IFSegModel
from train.words.vocabulary import Vocabulary

SMALL = ModelConfig(
    name="small", d_model=16, heads=2, ffn_dim=16, encoder_layers=1, decoder_layers=1, backbone_blocks=(1, 1, 1),
    vocab_size=40,
)  # fmt: skip
DEAD = (".k_proj.bias", "pos_k_linear.bias")  # zero gradient by mathematics, noise in practice (spec 11.3)


def small_model(seed: int = 0) -> LoadedModel[IFSegModel]:
    torch.manual_seed(seed)
    model = IFSegModel(SMALL).eval()
    ids = [[[5]], [[6, 7]], [[8]]]
    prompt, entry = [0, 5, 6, 7, 8, 9, 2], {"kind": "bpe", "identity": ""}
    provenance = {"base": "small", "base_sha256": "0"}
    return give_vocabulary(model, Vocabulary.parse("a, b, c"), prompt, ids, entry, provenance)


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


def test_same_seed_same_result_and_another_seed_another():
    results = []
    for seed in (3, 3, 4):
        model = small_model()
        Adaptation(model, AdaptationConfig(steps=2, batch_size=2, seed=seed)).run()
        results.append(torch.cat([p.flatten() for p in model.parameters()]))
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def test_global_random_state_is_left_alone():
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    Adaptation(small_model(), AdaptationConfig(steps=1, batch_size=1))  # building draws nothing
    adaptation = Adaptation(small_model(), AdaptationConfig(steps=1, batch_size=1))
    torch.manual_seed(7)
    adaptation.run()
    assert torch.equal(torch.rand(3), expected)


def test_resumed_equals_uninterrupted(tmp_path: Path):
    config = AdaptationConfig(steps=4, batch_size=2)
    whole = small_model()
    loss = Adaptation(whole, config).run()
    first = Adaptation(small_model(), config)

    def stop(progress):
        if progress.step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        first.run(stop)
    torch.save(first.state(), tmp_path / "r.pt")
    second_model = small_model()
    second = Adaptation(second_model, config)
    second.restore(torch.load(tmp_path / "r.pt", weights_only=True))
    assert second.run() == loss
    for (name, a), b in zip(whole.named_parameters(), second_model.parameters(), strict=True):
        assert torch.equal(a, b), name


def test_resume_of_another_adaptation_is_refused():
    state = Adaptation(small_model(), AdaptationConfig(steps=4, batch_size=2)).state()
    for other in (AdaptationConfig(steps=5, batch_size=2), AdaptationConfig(steps=4, batch_size=2, seed=1)):
        with pytest.raises(CheckpointError, match="another adaptation"):
            Adaptation(small_model(), other).restore(state)
    with pytest.raises(CheckpointError, match="not a resume file of ours"):
        Adaptation(small_model(), AdaptationConfig(steps=4)).restore({"step": 1})


def test_frozen_parts_stay_and_the_rest_moves():
    model = small_model()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    Adaptation(model, AdaptationConfig(steps=2, batch_size=2)).run()
    frozen = ("encoder.embed_tokens.", "encoder.embed_images.", "encoder.image_proj.")
    for name, value in model.state_dict().items():
        if name.startswith(frozen):
            assert torch.equal(value, before[name]), name
    assert not torch.equal(model.state_dict()["decoder.layers.0.fc1.weight"], before["decoder.layers.0.fc1.weight"])
    assert not model.training


def test_loss_falls():
    model = small_model()
    losses: list[float] = []
    Adaptation(model, AdaptationConfig(steps=12, batch_size=2, lr=3e-3)).run(lambda p: losses.append(p.loss))
    assert math.isfinite(losses[-1]) and min(losses[-3:]) < losses[0]


def test_settings_that_cannot_be_meant():
    for wrong in ({"steps": -1}, {"batch_size": 0}, {"lr": 0.0}, {"lr": float("nan")}):
        with pytest.raises(UsageError):
            AdaptationConfig(**wrong)


def _replica(rank: int, port_file: str, out: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{port_file}", rank=rank, world_size=2)
    model = small_model()
    Adaptation(model, AdaptationConfig(steps=2, batch_size=2)).run()
    torch.save(model.state_dict(), f"{out}{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_processes_stay_in_step(tmp_path: Path):
    multiprocessing.spawn(_replica, (str(tmp_path / "meet"), str(tmp_path / "out")), nprocs=2)
    one, two = (torch.load(tmp_path / f"out{r}.pt", weights_only=True) for r in (0, 1))
    assert all(torch.equal(one[name], two[name]) for name in one)
    start = small_model().state_dict()
    assert any(not torch.equal(one[name], start[name]) for name in one)


@pytest.mark.parametrize("overflow", [False, True])
def test_gradients_and_loss_are_averaged_before_anything_looks_at_them(
    overflow: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scaled gradient that overflows in one process has to be seen by the scaler of every process."""
    adaptation = Adaptation(small_model(), AdaptationConfig(steps=1, batch_size=2))
    generator = torch.Generator().manual_seed(0)
    parameters = adaptation.optimiser.parameters[1:]  # the first one has no gradient: it is left out, in every process
    for parameter in parameters:
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    ours = [parameter.grad.clone() for parameter in parameters]
    other = math.inf if overflow else 3.0
    monkeypatch.setattr(adaptation, "world", 2)
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda flat: flat.add_(other))
    assert adaptation._mean_over_processes(torch.tensor(5.0)) == (5.0 + other) / 2
    assert adaptation.optimiser.parameters[0].grad is None
    for parameter, own in zip(parameters, ours, strict=True):
        torch.testing.assert_close(parameter.grad, (own + other) / 2)


def test_a_loss_that_is_not_finite_ends_the_adaptation_before_an_update():
    model = small_model()
    with torch.no_grad():
        model.decoder.layers[0].fc1.weight[0, 0] = float("nan")
    start = [p.clone() for p in model.parameters()]
    adaptation = Adaptation(model, AdaptationConfig(steps=2, batch_size=1))
    with pytest.raises(CheckpointError, match="loss is not finite at step 1"):
        adaptation.run()
    assert adaptation.step == 0
    assert all(torch.equal(a, b) or a.isnan().any() for a, b in zip(start, model.parameters(), strict=True))
