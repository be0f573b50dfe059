"""The record beside the module: what it knows, what it passes on, and that nothing is hung onto the module."""

from __future__ import annotations

import copy

import pytest
import torch

from train.loaded_model import LoadedModel, checkpoint_of
from train.models.base import SegmentationModel
from train.models.ofa.model import IFSegModel


def test_it_is_called_and_used_like_its_module(small_model: LoadedModel[IFSegModel]) -> None:
    images = torch.zeros(1, 3, 32, 48)
    with torch.no_grad():
        assert torch.equal(small_model(images), small_model.module(images))
    assert isinstance(small_model.module, SegmentationModel)
    assert small_model.config is small_model.module.config
    assert len(list(small_model.parameters())) == len(list(small_model.module.parameters()))
    with pytest.raises(AttributeError, match="no_such_thing"):
        _ = small_model.no_such_thing


def test_the_module_carries_nothing_of_it(small_model: LoadedModel[IFSegModel]) -> None:
    assert small_model.vocabulary.names == ("a", "b", "c")
    for name in ("vocabulary", "category_ids", "tokenizer_entry", "provenance"):
        assert not hasattr(small_model.module, name)


def test_a_copy_is_independent(small_model: LoadedModel[IFSegModel]) -> None:
    other = copy.deepcopy(small_model)
    with torch.no_grad():
        other.module.category_embedding.zero_()
    assert other.vocabulary == small_model.vocabulary
    assert small_model.module.category_embedding.any()


def test_its_checkpoint_holds_what_it_knows(small_model: LoadedModel[IFSegModel]) -> None:
    stored = checkpoint_of(small_model, {"base": "small"})
    assert (stored.vocabulary, stored.category_ids) == (small_model.vocabulary, small_model.category_ids)
    assert stored.prompt_ids == [0, 5, 6, 7, 8, 9, 2]
    assert stored.provenance == {"base": "small"}
