"""What a precision costs, measured on a model of the right form whose answers mean nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks import precisions
from benchmarks.records.tables import precisions_table
from train.checkpoints.own import save_checkpoint
from train.loaded_model import checkpoint_of, give_vocabulary
from train.models.ofa.config import PRESETS
from train.models.ofa.model import IFSegModel
from train.words.tokenizer import WordTokenizer
from train.words.vocabulary import Vocabulary

WORDS = ("red", "green", "blue")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    small = {"d_model": 24, "heads": 3, "ffn_dim": 40, "encoder_layers": 1, "decoder_layers": 1, "vocab_size": 67}
    config = replace(PRESETS["mini"], name="small", max_text_positions=40, tokenizer="words", prompt_prefix="", **small)
    model = IFSegModel(config).eval()
    ids = {word: 10 + index for index, word in enumerate(WORDS)}
    tokenizer = WordTokenizer(ids, {}).to_entry()
    loaded = give_vocabulary(
        model, Vocabulary.parse(", ".join(WORDS)), [0, 10, 11, 12, 2], [[[i]] for i in ids.values()], tokenizer
    )
    path = tmp_path_factory.mktemp("checkpoint") / "ckpt.pt"
    save_checkpoint(checkpoint_of(loaded, {"base": "none"}), path)
    return path


def test_every_precision_is_compared_and_scored(
    checkpoint: Path, color_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "precisions.jsonl"
    options = ["--model", checkpoint, "--dataset", color_set, "--size", "64", "--out", out, "--threads", "1"]
    wanted = ["fp32", "bf16"]
    assert precisions.main([*map(str, options), "--precision", *wanted]) == 0
    said = capsys.readouterr()
    table = said.out
    assert "bf16: writing the graph ..." in said.err
    records = [json.loads(line) for line in out.read_text().splitlines()]
    assert [record["key"]["precision"] for record in records] == wanted
    exact, bf16 = records
    assert (exact["label_agreement"], exact["mean_iou"]) == (1.0, 1.0)
    assert exact["relative_logit_error"] < 1e-5 < bf16["relative_logit_error"] < 0.2
    assert (bf16["computed_by"], "miou" in bf16) == ("torch", False)
    assert exact["compared_pictures"] == exact["key"]["pictures"] == 3
    assert 0 <= exact["miou"] <= 1 and 0 <= exact["miou_refined"] <= 1
    assert "| fp32 | " in table and "| bf16 | " in table and "Measured on " in table
    assert next(line for line in table.splitlines() if line.startswith("| bf16")).endswith("| - | - |")

    assert precisions.main([*map(str, options), "--precision", *wanted]) == 0
    assert capsys.readouterr().out == table
    assert len(out.read_text().splitlines()) == 2, "what is there is not measured again"


def test_the_model_must_carry_the_classes(color_set: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert precisions.main(["--model", "micro", "--dataset", str(color_set)]) == 8
    assert "error: micro carries no categories" in capsys.readouterr().err


def test_nothing_measured_is_no_table() -> None:
    assert precisions_table([]) == ""
