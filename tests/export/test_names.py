"""Names on the whole way: list, checkpoint, command, sidecar, Segmenter."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from export import export_onnx
from export.to_onnx import main
from ifseg_rt import Segmenter
from ifseg_rt.errors import UsageError
from train.checkpoints.own import save_checkpoint
from train.loaded_model import LoadedModel, checkpoint_of
from train.models.ofa.model import IFSegModel
from train.words.vocabulary import Category, Vocabulary

NAMES = ('- "sky"; {0: a}', "天空\uff0c道路", "no", "a: b | c\\d/[e] & <f>%s")


def test_odd_names_reach_the_segmenter(smallest: LoadedModel[IFSegModel], tmp_path: Path) -> None:
    synonyms = ("names:", "it's ~")
    vocabulary = Vocabulary.of([Category(NAMES[0], synonyms, (1, 2, 3)), *NAMES[1:]])
    ids = [[[10 + i] for _ in (c.name, *c.synonyms)] for i, c in enumerate(vocabulary.categories)]
    model = replace(smallest, vocabulary=vocabulary, category_ids=ids)
    save_checkpoint(checkpoint_of(model, {}), tmp_path / "ckpt.pt")
    assert main([str(tmp_path / "ckpt.pt"), "--size", "64", "--quiet"]) == 0
    with Segmenter(tmp_path / "ckpt.onnx", device="cpu", threads=1) as segmenter:
        assert segmenter.categories == NAMES
        first = segmenter.artifact.categories[0]
        assert (first.synonyms, first.color) == (synonyms, (1, 2, 3))


@pytest.mark.parametrize("names", [set(NAMES), "sky", 3])
def test_names_without_an_order_are_refused(smallest: LoadedModel[IFSegModel], tmp_path: Path, names) -> None:
    with pytest.raises(UsageError, match="categories"):
        export_onnx(smallest, tmp_path / "model.onnx", (64, 64), categories=names)
