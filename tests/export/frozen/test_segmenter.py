"""The frozen module computes what the model computes, for every kind of model."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from export.frozen.biases import CompactBiases, DenseBiases, self_blocks
from export.frozen.head import MOST_PATCHES
from export.frozen.segmenter import FrozenSegmenter
from ifseg_rt.errors import UsageError, VocabularyError
from train.loaded_model import LoadedModel
from train.models.ofa.model import IFSegModel
from train.models.refinement import neighbours, refine

NOISE = 1e-4


def close(found: torch.Tensor, expected: torch.Tensor, tolerance: float = NOISE) -> None:
    assert found.shape == expected.shape
    assert (found - expected).abs().max().item() <= tolerance


@pytest.mark.parametrize("case", ["c256", "c512", "c384x640", "c512x683", "c320x704"])
def test_golden_pictures(mini: LoadedModel[IFSegModel], arrays: np.lib.npyio.NpzFile, case: str) -> None:
    pixels = arrays[f"{case}/image_u8"]
    pixels = pixels if case == "c256" else pixels[:1]
    batch, (height, width) = len(pixels), pixels.shape[1:3]
    image = (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5

    probabilities, logits, near = FrozenSegmenter(mini.module, (height, width), batch=batch)(image)

    close(logits, torch.from_numpy(arrays[f"{case}/logits"][:batch, :-1]))
    rows = probabilities.flatten(2).transpose(1, 2)
    close(rows, torch.from_numpy(arrays[f"{case}/prob"][:batch, :-1]), 1e-5)
    sure = arrays[f"{case}/knn_gap"][:batch] > 1e-5
    expected = np.sort(arrays[f"{case}/knn_ind"][:batch], axis=-1)
    assert near.dtype == torch.int32
    assert (np.sort(near[..., :3].numpy(), axis=-1) == expected)[sure].all()


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("layers", [1, 2])
def test_every_way_to_read_the_decoder(
    make_model: Callable[..., LoadedModel[IFSegModel]],
    noise: Callable[..., torch.Tensor],
    causal: bool,
    offset: int,
    layers: int,
) -> None:
    model = make_model(causal=causal, readout_offset=offset, decoder_layers=layers).module
    image = noise((160, 224), batch=2)
    with torch.no_grad():
        close(FrozenSegmenter(model, (160, 224), batch=2)(image)[1], model(image))


@pytest.mark.parametrize("size", [(32, 32), (200, 333), (97, 64)])
def test_micro_kind_at_odd_sizes(
    micro_like: LoadedModel[IFSegModel], noise: Callable[..., torch.Tensor], size: tuple[int, int]
) -> None:
    image = noise(size, batch=2)
    with torch.no_grad():
        features = micro_like.module.features(image)
        probabilities, logits, near = FrozenSegmenter(micro_like.module, size, batch=2)(image)
        close(logits, micro_like(image))
        count = min(8, logits.shape[1])
        close(probabilities.flatten(2).transpose(1, 2), refine(logits.softmax(-1), neighbours(features, 3), 25), 1e-5)
    assert near.shape == (2, logits.shape[1], count)
    rows = torch.nn.functional.normalize(features.flatten(2).transpose(1, 2), dim=-1)
    cosines = torch.matmul(rows, rows.transpose(1, 2)).gather(2, near.long())
    assert (cosines[..., :-1] - cosines[..., 1:] >= -1e-6).all(), "neighbours are sorted by falling similarity"


@pytest.mark.parametrize("grid", [(32, 32), (12, 9), (40, 36)])
def test_bias_factors_and_tables_are_the_models_biases(
    ofa_like: LoadedModel[IFSegModel], grid: tuple[int, int]
) -> None:
    n = grid[0] * grid[1]
    blocks = [self_blocks(n, 0, n, causal=True)] * 2
    with torch.no_grad():
        compact = CompactBiases(ofa_like.module, grid, n, blocks, [0, 0])
        encoder, decoder, cross = compact()
        positions = ofa_like.module.encoder.positions(grid, len(ofa_like.module.prompt_ids))
        expected = ofa_like.module.encoder.layer_biases(positions, grid, len(ofa_like.module.prompt_ids))
        for found, bias in zip(encoder, expected, strict=True):
            close(found, bias, 1e-5)
        close(cross, ofa_like.module.decoder.cross_bias(grid, positions)[:, :n], 1e-5)
        mask = ofa_like.module.decoder.causal_mask(grid)
        for parts, bias in zip(decoder, ofa_like.module.decoder.self_biases(grid), strict=True):
            masked = bias + mask
            for part, block in zip(parts, blocks[0], strict=True):
                expected_part = masked[:, block.start : block.stop, : block.keys]
                assert torch.equal(part.isinf(), expected_part.isinf())
                close(part.nan_to_num(neginf=0), expected_part.nan_to_num(neginf=0), 1e-5)
        tables = DenseBiases(compact)
        assert all(torch.equal(a, b) for a, b in zip(tables()[0], encoder, strict=True))
        assert all(
            torch.equal(a, b) for x, y in zip(tables()[1], decoder, strict=True) for a, b in zip(x, y, strict=True)
        )


def test_causal_blocks_cover_every_query_once() -> None:
    blocks = self_blocks(1024, 1, 1025, causal=True)
    assert [block.start for block in blocks[1:]] == [block.stop for block in blocks[:-1]]
    assert (blocks[0].start, blocks[-1].stop, blocks[-1].keys) == (0, 1024, 1025)
    assert len(self_blocks(16, 0, 16, causal=True)) == 1


@pytest.mark.parametrize("categories", [1, 1000])
def test_few_and_many_categories(
    make_model: Callable[..., LoadedModel[IFSegModel]], noise: Callable[..., torch.Tensor], categories: int
) -> None:
    model = make_model(vocab_size=1100, max_text_positions=1026).module
    ids = list(range(20, 20 + categories))
    model.set_vocabulary([0, *ids, 2], [[[i]] for i in ids])
    image = noise((64, 96))
    with torch.no_grad():
        probabilities, logits, _ = FrozenSegmenter(model, (64, 96))(image)
        close(logits, model(image))
    assert probabilities.shape == (1, categories, 4, 6)
    close(probabilities.sum(1), torch.ones(1, 4, 6), 1e-5)


def test_refinement_settings(ofa_like: LoadedModel[IFSegModel], noise: Callable[..., torch.Tensor]) -> None:
    image = noise((64, 96))
    with torch.no_grad():
        plain, logits, _ = FrozenSegmenter(ofa_like.module, (64, 96), rounds=0)(image)
        close(plain.flatten(2).transpose(1, 2), logits.softmax(-1), 0)
        smooth = FrozenSegmenter(ofa_like.module, (64, 96), neighbours=5, rounds=2)(image)[0]
        near = neighbours(ofa_like.module.features(image), 5)
    close(smooth.flatten(2).transpose(1, 2), refine(logits.softmax(-1), near, 2), 1e-6)


def test_no_text_branch_is_left(ofa_like: LoadedModel[IFSegModel]) -> None:
    before = {name: tensor.clone() for name, tensor in ofa_like.module.state_dict().items()}
    frozen = FrozenSegmenter(ofa_like.module, (64, 96))
    rows = {tensor.shape[0] for tensor in frozen.state_dict().values() if tensor.dim()}
    assert ofa_like.module.config.vocab_size not in rows
    assert all(torch.equal(before[name], tensor) for name, tensor in ofa_like.module.state_dict().items())
    assert not any(parameter.requires_grad for parameter in frozen.parameters())


def test_what_cannot_be_frozen_is_refused(ofa_like: LoadedModel[IFSegModel]) -> None:
    with pytest.raises(UsageError, match="1 to 4 neighbours on a grid of 4"):
        FrozenSegmenter(ofa_like.module, (32, 32), neighbours=5)
    with pytest.raises(UsageError, match="position table"):
        FrozenSegmenter(ofa_like.module, (704, 64))
    with pytest.raises(UsageError, match=f"expected 1 to {MOST_PATCHES}"):
        FrozenSegmenter(ofa_like.module, (4096, 4096))
    with pytest.raises(VocabularyError, match="no categories"):
        FrozenSegmenter(IFSegModel(ofa_like.module.config).eval(), (64, 64))
