"""Models for export, small and random but for the golden one, and what is exported once for all tests and workers."""

from __future__ import annotations

import os
import pickle
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from export.products.onnx_model import Exported, export_model
from export.settings import ExportSettings
from ifseg_rt.cache import file_lock
from train.load import load_model
from train.loaded_model import LoadedModel, checkpoint_of, give_vocabulary
from train.models.ofa.config import PRESETS, ModelConfig
from train.models.ofa.model import IFSegModel
from train.words.tokenizer import WordTokenizer
from train.words.vocabulary import Vocabulary

WORDS = ("sky", "road", "tree", "car")
_PROMPT = [0, 10, 11, 12, 13, 3, 2]

# OFA's kind and micro's kind, as small as they can be while every part has its own width.
OFA_LIKE = replace(
    PRESETS["mini"],
    name="ofa-like",
    d_model=24,
    heads=3,
    ffn_dim=40,
    vocab_size=67,
    max_text_positions=40,
    prompt_prefix="",
    tokenizer="words",
)
MICRO_LIKE = replace(
    PRESETS["micro"],
    name="micro-like",
    d_model=24,
    heads=3,
    ffn_dim=40,
    encoder_layers=1,
    decoder_layers=2,
    vocab_size=67,
)


def random_model(config: ModelConfig, seed: int = 0) -> LoadedModel[IFSegModel]:
    """A model in which nothing is at its initial value and features differ from patch to patch."""
    generator = torch.Generator().manual_seed(seed)

    def normal(tensor: torch.Tensor, mean: float, deviation: float) -> None:
        tensor.copy_(torch.randn(tensor.shape, generator=generator) * deviation + mean)

    model = IFSegModel(config).eval()
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if "running_var" in name:
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
            elif name.endswith("feature_scale") or "c_attn" in name:
                normal(tensor, 1.0, 0.2)
            elif tensor.dim() == 4:
                normal(tensor, 0.0, 1.3 * (tensor[0].numel()) ** -0.5)
            elif tensor.dim() == 2 and ("rel_pos_table" in name or "embed" in name):
                normal(tensor, 0.0, 0.7)
            elif tensor.dim() == 2:
                normal(tensor, 0.0, tensor.shape[1] ** -0.5)
            else:
                normal(tensor, 1.0 if "weight" in name else 0.0, 0.2)
    return with_words(model)


def with_words(model: IFSegModel) -> LoadedModel[IFSegModel]:
    tokenizer = WordTokenizer({word: 10 + i for i, word in enumerate(WORDS)}, {})
    ids = [[[10 + i]] for i in range(len(WORDS))]
    return give_vocabulary(model, Vocabulary.parse(", ".join(WORDS)), _PROMPT, ids, tokenizer.to_entry())


@pytest.fixture(scope="session")
def ofa_like() -> LoadedModel[IFSegModel]:
    return random_model(OFA_LIKE)


@pytest.fixture(scope="session")
def micro_like() -> LoadedModel[IFSegModel]:
    return random_model(MICRO_LIKE)


@pytest.fixture(scope="session")
def make_model() -> Callable[..., LoadedModel[IFSegModel]]:
    """Random OFA-like model with some fields of the configuration changed."""
    return lambda **changes: random_model(replace(OFA_LIKE, **changes))


@pytest.fixture(scope="session")
def smallest(make_model: Callable[..., LoadedModel[IFSegModel]]) -> LoadedModel[IFSegModel]:
    """One layer in each stack, for tests of what surrounds the network."""
    return make_model(name="smallest", encoder_layers=1, decoder_layers=1)


@pytest.fixture(scope="session")
def own_checkpoint(smallest: LoadedModel[IFSegModel], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of our own format with words, as ``train.adapt`` writes it."""
    from train.checkpoints.own import save_checkpoint

    path = tmp_path_factory.mktemp("checkpoint") / "ckpt.pt"
    provenance = {"base": "micro", "steps": 5, "seed": 0, "final_loss": 0.5, "image_size": "96x128"}
    save_checkpoint(checkpoint_of(smallest, provenance), path)
    return path


@pytest.fixture(scope="session")
def mini(golden: Path, shared: Path, tmp_path_factory: pytest.TempPathFactory) -> LoadedModel[IFSegModel]:
    """The golden model with its five categories."""
    folder = tmp_path_factory.mktemp("weights")
    with tarfile.open(golden / "ckpts.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    checkpoint = next(folder.rglob("ckpt_ifseg.pt"))
    return load_model(checkpoint, tokenizer=shared / "reference" / "bpe")


@pytest.fixture(scope="session")
def arrays(golden: Path) -> np.lib.npyio.NpzFile:
    return np.load(golden / "forward.npz")


@pytest.fixture(scope="session")
def noise() -> Callable[..., torch.Tensor]:
    """A batch of normalised pictures with structure at several scales."""

    def make(size: tuple[int, int], batch: int = 1, seed: int = 0) -> torch.Tensor:
        from export.pictures import textured_picture

        frames = [textured_picture(*size, seed=seed + i) for i in range(batch)]
        return torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).float() / 127.5 - 1

    return make


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], Exported]], Exported]:
    """Exports under a name: the first test of all workers that asks makes it in a folder of its own."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def get(name: str, make: Callable[[Path], Exported]) -> Exported:
        folder = base / "exported" / name
        with file_lock(folder.with_name(f"{name}.lock"), wait=300):
            kept = folder / "exported.pickle"
            if not kept.exists():
                folder.mkdir(exist_ok=True)
                kept.write_bytes(pickle.dumps(make(folder)))
            exported: Exported = pickle.loads(kept.read_bytes())
        return exported

    return get


@pytest.fixture(scope="session")
def exported(
    once: Callable[[str, Callable[[Path], Exported]], Exported], micro_like: LoadedModel[IFSegModel]
) -> Callable[[str], Exported]:
    """The micro-like model for 96 x 128 pixels in a precision, as its settings are for that; not to be changed."""

    def get(precision: str) -> Exported:
        biases = "auto" if precision == "int8" else "tables"
        settings = ExportSettings(size=(96, 128), rounds=1, precision=precision, biases=biases)  # type: ignore[arg-type]
        return once(precision, lambda folder: export_model(micro_like, folder / "model.onnx", settings))

    return get
