"""Changed files are refused, ours by their own checksum too; and what we write is finite and has the usual rights."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
import torch

from ifseg_rt.errors import CheckpointError
from tests.hostile import adapt_options, checkpoints, pickles
from tests.hostile.checkpoints import own_file
from train.checkpoints.own import read_checkpoint, save_checkpoint


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return own_file(tmp_path / "ckpt.pt")


def test_every_flipped_bit_among_the_weights_is_noticed(path: Path):
    whole = path.read_bytes()
    weight = read_checkpoint(path).state["encoder.embed_images.conv1.weight"].numpy().tobytes()
    start = whole.index(weight)
    for place in random.Random(0).sample(range(8 * len(weight)), 20):
        damaged = bytearray(whole)
        damaged[start + place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match="is damaged: the checksum"):
            read_checkpoint(path)


def test_edited_weights_and_records_are_noticed(path: Path):
    document = torch.load(path, weights_only=True)
    document["model"]["encoder.layer_norm.weight"][0] += 1e-6
    torch.save(document, path)
    with pytest.raises(CheckpointError, match="differ from its checksum"):
        read_checkpoint(path)
    del document["checksum"]
    torch.save(document, path)
    with pytest.raises(CheckpointError, match="differ from its checksum"):
        read_checkpoint(path)


def test_a_file_of_the_first_version_is_read(path: Path):
    document = torch.load(path, weights_only=True)
    del document["checksum"]
    torch.save({**document, "version": 1}, path)
    assert read_checkpoint(path).vocabulary.names == ("road", "sky")


@pytest.mark.skipif(os.name != "posix", reason="rights of files are of POSIX systems")
@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_files_get_the_rights_that_the_umask_leaves(path: Path, mask: int):
    stored, before = read_checkpoint(path), os.umask(mask)
    try:
        save_checkpoint(stored, path)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o666 & ~mask


def test_weights_that_are_not_finite_are_not_written(path: Path):
    stored, whole = read_checkpoint(path), path.read_bytes()
    stored.state["encoder.layer_norm.weight"][0] = 70000.0  # beyond half precision
    with pytest.raises(CheckpointError, match=r"not finite \(encoder\.layer_norm\.weight\)"):
        save_checkpoint(stored, path, half=True)
    assert path.read_bytes() == whole


@pytest.mark.parametrize(("faults", "count"), [(checkpoints, 45), (pickles, 70), (adapt_options, 20)])
def test_faults_are_treated_as_documented(faults, count: int, monkeypatch: pytest.MonkeyPatch):
    """A part of ``python -m tests.hostile``, which has as many as one wants."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    wrong = [f"{name}: {problem}" for name, run in faults.cases(0, count) if (problem := run())]
    assert not wrong
