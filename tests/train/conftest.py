"""The small random model of the golden tensors, unpacked and loaded once, and what it computes for each input size."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from train import load_model
from train.loaded_model import LoadedModel, give_vocabulary
from train.models.ofa.config import ModelConfig
from train.models.ofa.model import IFSegModel
from train.words.vocabulary import Vocabulary


@dataclass(frozen=True)
class Trace:
    """What the model computes on the way from a batch of pictures to logits."""

    grid: tuple[int, int]
    features: Tensor
    positions: Tensor
    encoder_biases: list[Tensor]
    decoder_biases: list[Tensor]
    cross_bias: Tensor
    encoder_states: list[Tensor]
    decoder_states: list[Tensor]
    memory: Tensor
    penultimate: Tensor
    logits: Tensor


def normalise(pictures: np.ndarray) -> Tensor:
    """uint8 ``[B, H, W, 3]`` -> the network's input, every channel to -1..1."""
    return (torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5


@torch.no_grad()
def trace_of(model: IFSegModel, pictures: np.ndarray) -> Trace:
    """Runs the model, keeping the input of every layer and the last layer's output."""
    states: dict[str, list[Tensor]] = {"encoder": [], "decoder": []}
    hooks = []
    for name, stack in (("encoder", model.encoder), ("decoder", model.decoder)):
        kept = states[name]
        hooks += [layer.register_forward_pre_hook(lambda _, args, k=kept: k.append(args[0])) for layer in stack.layers]
        hooks.append(stack.layer_norm.register_forward_pre_hook(lambda _, args, k=kept: k.append(args[0])))
    text = len(model.prompt_ids)
    features = model.features(normalise(pictures))
    grid = (features.shape[2], features.shape[3])
    patches = model.project(features)
    logits = model.all_logits(patches, grid)
    for hook in hooks:
        hook.remove()
    positions = model.encoder.positions(grid, text)
    return Trace(
        grid=grid,
        features=features.flatten(2).transpose(1, 2),
        positions=positions,
        encoder_biases=model.encoder.layer_biases(positions, grid, text),
        decoder_biases=model.decoder.self_biases(grid),
        cross_bias=model.decoder.cross_bias(grid, positions),
        encoder_states=states["encoder"],
        decoder_states=states["decoder"],
        memory=model.encoder.layer_norm(states["encoder"][-1]),
        penultimate=model.decoder.layer_norm(states["decoder"][-1]),
        logits=logits,
    )


@pytest.fixture(scope="session")
def bpe(shared: Path) -> Path:
    """Folder with the byte-level BPE files of English OFA in fairseq's layout."""
    return shared / "reference" / "bpe"


@pytest.fixture(scope="session")
def weights(golden: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with ``ckpt_ifseg.pt``, ``ckpt_ofa.pt`` and ``ckpt_hf/``: one model in three layouts."""
    folder = tmp_path_factory.mktemp("weights")
    with tarfile.open(golden / "ckpts.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return next(folder.rglob("ckpt_ifseg.pt")).parent


@pytest.fixture(scope="session")
def adapted(weights: Path, bpe: Path) -> LoadedModel[IFSegModel]:
    """The golden model from the reference's adapted checkpoint; not to be changed by tests."""
    return load_model(weights / "ckpt_ifseg.pt", tokenizer=bpe)


@pytest.fixture(scope="session")
def forward_arrays(golden: Path) -> np.lib.npyio.NpzFile:
    return np.load(golden / "forward.npz")


@pytest.fixture(scope="session")
def traced(adapted: LoadedModel[IFSegModel], forward_arrays: np.lib.npyio.NpzFile) -> Callable[[str], Trace]:
    """Trace of a case by its name, computed once."""
    return cache(lambda case: trace_of(adapted.module, forward_arrays[f"{case}/image_u8"]))


@pytest.fixture(scope="session")
def tracer() -> Callable[[IFSegModel, np.ndarray], Trace]:
    """The function that runs any model and keeps what it computes."""
    return trace_of


def small(seed: int = 0) -> LoadedModel[IFSegModel]:
    """A random model of one layer a stack with three categories: an update takes some 50 ms."""
    torch.manual_seed(seed)
    config = ModelConfig(
        name="small", d_model=16, heads=2, ffn_dim=16, encoder_layers=1, decoder_layers=1, backbone_blocks=(1, 1, 1),
        vocab_size=40,
    )  # fmt: skip
    model = IFSegModel(config).eval()
    ids = [[[5]], [[6, 7]], [[8]]]
    prompt, entry = [0, 5, 6, 7, 8, 9, 2], {"kind": "bpe", "identity": ""}
    provenance = {"base": "small", "base_sha256": "0"}
    return give_vocabulary(model, Vocabulary.parse("a, b, c"), prompt, ids, entry, provenance)


@pytest.fixture(scope="session")
def make_small() -> Callable[..., LoadedModel[IFSegModel]]:
    """The same small model at every call, or another one for another seed."""
    return small


@pytest.fixture
def small_model() -> LoadedModel[IFSegModel]:
    return small()
