"""Biases are written small, and opening a model does not unfold them through many large intermediates."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from pathlib import Path

import onnx
import pytest
import torch

from export.frozen.biases import BiasForm, CompactBiases, DenseBiases, choose_biases
from export.frozen.relative import GridValues
from export.frozen.segmenter import FrozenSegmenter
from export.graph.writer import write_onnx
from train.loaded_model import LoadedModel
from train.models.ofa.model import IFSegModel


def folded_bytes(path: Path) -> int:
    """What a run time keeps while it folds: the results of all nodes that no picture can change."""
    graph = onnx.shape_inference.infer_shapes(onnx.load(path), strict_mode=True, data_prop=True).graph
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in graph.value_info}
    varying, total = {"image"}, 0
    for node in graph.node:
        if varying & set(node.input):
            varying |= set(node.output)
        else:
            total += sum(4 * prod(shapes[name]) for name in node.output)
    return total


def stored_bytes(module: torch.nn.Module) -> int:
    """Bytes of all constants of a module."""
    return sum(tensor.numel() * tensor.element_size() for tensor in module.state_dict().values())


def test_few_intermediates(make_model: Callable[..., LoadedModel[IFSegModel]], tmp_path: Path) -> None:
    frozen = FrozenSegmenter(make_model(name="deep", encoder_layers=2, decoder_layers=2).module, (384, 640), rounds=0)
    path = tmp_path / "model.onnx"
    write_onnx(frozen, path)
    assert isinstance(frozen.biases, CompactBiases)
    tables = stored_bytes(DenseBiases(frozen.biases))
    assert folded_bytes(path) < 3.5 * tables
    assert path.stat().st_size < 0.2 * tables


def test_only_tables_are_large(ofa_like: LoadedModel[IFSegModel]) -> None:
    forms: list[BiasForm] = ["auto", "factors", "tables"]
    auto, factors, tables = (stored_bytes(FrozenSegmenter(ofa_like.module, (256, 256), biases=form)) for form in forms)
    assert auto == factors < tables


@pytest.mark.parametrize(("length", "distinct"), [(32, 63), (16, 31), (24, 90), (1, 1)])
def test_pairs_that_mix_alike_share_their_values(length: int, distinct: int) -> None:
    values = GridValues(32, (length, 2))
    assert len(values.rows) == distinct
    assert torch.allclose(values.rows.sum(1), torch.ones(distinct))
    places = values.places()
    assert places.shape == (2 * length, 2 * length)
    assert places.dtype == torch.int32
    assert int(places.max()) == values.count - 1


def test_constant_tables_give_constant_biases() -> None:
    values = GridValues(32, (7, 5))
    table = torch.full((3, 63, 63), 0.7)
    assert torch.allclose(values(table)[:, values.places()], torch.tensor(0.7))


def test_forms(ofa_like: LoadedModel[IFSegModel]) -> None:
    compact = FrozenSegmenter(ofa_like.module, (64, 64)).biases
    assert choose_biases(compact, "auto") is compact  # type: ignore[arg-type]
