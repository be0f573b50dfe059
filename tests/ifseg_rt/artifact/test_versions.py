"""Sidecars of version 1 are read as they were written; what is written is version 2."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import msgspec
import numpy as np
import pytest

from ifseg_rt import Segmenter
from ifseg_rt.artifact.schema import Artifact
from ifseg_rt.artifact.shipped import default_model_path
from ifseg_rt.artifact.sidecar import read_artifact, sidecar_path, write_artifact
from ifseg_rt.errors import ArtifactError


def make_old(model: Path, **changes: object) -> bytes:
    """Rewrites a sidecar as version 1 was written, seal included; written out here, as nothing writes it any more."""
    fields = json.loads(sidecar_path(model).read_bytes())
    fields = {**fields, "schema_version": 1, **changes}
    del fields["integrity"]
    sealed = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    fields["integrity"] = hashlib.sha256(sealed.encode()).hexdigest()
    raw = (json.dumps(fields, indent=1, ensure_ascii=False) + "\n").encode()
    sidecar_path(model).write_bytes(raw)
    return raw


def without_refinement(artifact: Artifact) -> Artifact:
    return msgspec.structs.replace(artifact, refinement=None, outputs=artifact.outputs[:2])


def test_version_1_runs_as_before(own_model: Path, scene: np.ndarray) -> None:
    with Segmenter(own_model, device="cpu") as segmenter:
        expected, settings = segmenter(scene), segmenter.refinement
    new = read_artifact(own_model)
    raw = make_old(own_model)
    old = read_artifact(own_model)
    assert (old.schema_version, new.schema_version) == (1, 2)
    assert old.refinement == new.refinement
    assert old.integrity == json.loads(raw)["integrity"] != new.integrity
    with Segmenter(own_model, device="cpu") as segmenter:
        assert segmenter.refinement == settings == (3, 2)
        np.testing.assert_array_equal(segmenter(scene).labels, expected.labels)
    assert sidecar_path(own_model).read_bytes() == raw


def test_the_seal_of_version_1_is_still_looked_at(own_model: Path) -> None:
    raw = make_old(own_model)
    sidecar_path(own_model).write_bytes(raw.replace(b'"red"', b'"rad"'))
    with pytest.raises(ArtifactError, match="was changed after the export"):
        read_artifact(own_model)


def test_the_shipped_model() -> None:
    shipped = read_artifact(default_model_path())
    assert shipped.schema_version == 1
    assert shipped.refinement is not None


def test_what_is_read_as_version_1_is_written_as_version_2(own_model: Path) -> None:
    before = sidecar_path(own_model).read_bytes()
    make_old(own_model)
    written = write_artifact(read_artifact(own_model), sidecar_path(own_model))
    assert written.schema_version == 2
    assert sidecar_path(own_model).read_bytes() == before


def test_version_2_may_have_no_refinement(own_model: Path) -> None:
    plain = write_artifact(without_refinement(read_artifact(own_model)), sidecar_path(own_model))
    assert json.loads(sidecar_path(own_model).read_bytes())["refinement"] is None
    assert read_artifact(own_model) == plain


def test_version_1_always_has_one(own_model: Path) -> None:
    fields = msgspec.to_builtins(without_refinement(read_artifact(own_model)))
    make_old(own_model, refinement=None, outputs=fields["outputs"])
    with pytest.raises(ArtifactError, match="version 1 has no models without refinement"):
        read_artifact(own_model)


def test_neighbours_belong_to_a_refinement(own_model: Path) -> None:
    artifact = read_artifact(own_model)
    with pytest.raises(ArtifactError, match="it gives neighbours, but has no refinement"):
        write_artifact(msgspec.structs.replace(artifact, refinement=None), sidecar_path(own_model))
    with pytest.raises(ArtifactError, match="'neighbours' should be int32"):
        write_artifact(msgspec.structs.replace(artifact, outputs=artifact.outputs[:2]), sidecar_path(own_model))
