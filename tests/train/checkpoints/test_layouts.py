"""One model in every layout that people bring: the same weights come out, or what is missing is named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from ifseg_rt.errors import CheckpointError, UsageError
from train import load_model
from train.load import load_base

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def state(weights: Path) -> State:
    """The tensors of the golden model's Hugging Face folder."""
    found: State = torch.load(weights / "ckpt_hf" / "pytorch_model.bin", weights_only=True)
    return {name: tensor.clone() for name, tensor in found.items()}


@pytest.fixture
def folder(weights: Path, tmp_path: Path) -> Path:
    """A Hugging Face folder without weights; its settings begin with a byte order mark."""
    settings = (weights / "ckpt_hf" / "config.json").read_text(encoding="utf-8")
    (tmp_path / "config.json").write_text(settings, encoding="utf-8-sig")
    return tmp_path


def in_parts(state: State, folder: Path, whole: str, write: Callable[[State, Path], object]) -> Path:
    names = sorted(state)
    stem, _, suffix = whole.rpartition(".")
    files = [f"{stem}-{number}-of-00002.{suffix}" for number in (1, 2)]
    write({name: state[name] for name in names[::2]}, folder / files[0])
    write({name: state[name] for name in names[1::2]}, folder / files[1])
    index = {"weight_map": {name: files[number % 2] for number, name in enumerate(names)}}
    (folder / f"{whole}.index.json").write_text(json.dumps(index))
    return folder


def saved(document: object, path: Path) -> Path:
    torch.save(document, path)
    return path


LAYOUTS: dict[str, Callable[[State, Path], Path]] = {
    "safetensors": lambda s, f: save_file(s, f / "model.safetensors") or f,
    "a single file": lambda s, f: save_file(s, f / "x.safetensors") or f / "x.safetensors",
    "safetensors in parts": lambda s, f: in_parts(s, f, "model.safetensors", save_file),
    "bin in parts": lambda s, f: in_parts(s, f, "pytorch_model.bin", torch.save),
    "module.": lambda s, f: saved({"state_dict": {f"module.{n}": t for n, t in s.items()}}, f / "x.pt"),
    "module.model.": lambda s, f: saved({f"module.model.{n}": t for n, t in s.items()}, f / "x.pt"),
    "ema": lambda s, f: saved({"epoch": 3, "state_dict_ema": s}, f / "x.pth"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_same_weights_come_out(layout: str, state: State, folder: Path, weights: Path):
    expected = load_base(weights / "ckpt_hf").model.state_dict()
    found = load_base(LAYOUTS[layout](state, folder)).model.state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_parts_that_do_not_fit_are_named(state: State, folder: Path, tmp_path: Path):
    in_parts(state, folder, "model.safetensors", save_file)
    index = folder / "model.safetensors.index.json"
    good = json.loads(index.read_text())["weight_map"]
    for file, words in (("../x.safetensors", "outside"), ("none.safetensors", "has no"), (7, "no weight_map")):
        index.write_text(json.dumps({"weight_map": {**good, "encoder.layer_norm.weight": file}}))
        with pytest.raises(CheckpointError, match=words):
            load_base(folder)
    index.write_text(json.dumps({"weight_map": {**good, "another": next(iter(good.values()))}}))
    with pytest.raises(CheckpointError, match="lacks 'another'"):
        load_base(folder)


def test_a_wrapper_that_is_unknown_is_named(state: State, tmp_path: Path):
    with pytest.raises(CheckpointError, match="'teacher', 'step'"):
        load_base(saved({"teacher": state, "step": 3}, tmp_path / "x.pt"))


def test_missing_words_are_said_before_the_weights_are_read(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("train.load.load_untrusted", lambda _: pytest.fail("read the weights first"))
    shutil.copy(weights / "ckpt_ofa.pt", tmp_path)
    with pytest.raises(CheckpointError, match="none are beside the weights") as caught:
        load_model(tmp_path / "ckpt_ofa.pt", "sky")
    assert "dict.txt" in (caught.value.hint or "")


@pytest.mark.parametrize(("name", "code"), [("", 2), ("n" * 300, 7), ("a\0b", 7), ("./none", 7), ("/dev/null", 7)])
def test_names_of_nothing(name: str, code: int):
    with pytest.raises((CheckpointError, UsageError)) as caught:
        load_base(name)
    assert caught.value.exit_code == code
