"""Every way an artifact can be wrong is refused with its reason."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ifseg_rt.artifact.sidecar import file_record, read_artifact, sidecar_path, write_artifact
from ifseg_rt.errors import ArtifactError


def edit(model: Path, change: Callable[[dict[str, Any]], None]) -> None:
    fields = json.loads(sidecar_path(model).read_text())
    change(fields)
    sidecar_path(model).write_text(json.dumps(fields))


def test_reads_what_was_written(own_model: Path) -> None:
    artifact = read_artifact(own_model)
    assert artifact.category_names == ("red", "green", "blue thing", "dark")
    assert artifact.grid == (8, 12)
    assert artifact.provenance["final_loss"] == 0.25
    assert len(artifact.integrity) == 64


def test_both_files_may_be_renamed_together(own_model: Path) -> None:
    renamed = own_model.with_name("street.onnx")
    own_model.rename(renamed)
    sidecar_path(own_model).rename(sidecar_path(renamed))
    assert read_artifact(renamed).name == "detectors"


def test_layout_of_the_json_does_not_matter(own_model: Path) -> None:
    edit(own_model, lambda fields: None)
    assert read_artifact(own_model).batch == 1


def test_missing_model(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="there is no model file"):
        read_artifact(tmp_path / "none.onnx")


def test_missing_sidecar(own_model: Path) -> None:
    sidecar_path(own_model).unlink()
    with pytest.raises(ArtifactError, match=r"no sidecar: expected model\.json") as caught:
        read_artifact(own_model)
    assert "copy model.json" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not valid JSON"),
        ("{", "not valid JSON"),
        ("[1]", "found a JSON list"),
        ('{"name": "yolo"}', "is not the sidecar of a model"),
        ('{"kind": "ifseg-rt-artifact"}', "schema version None"),
        ('{"kind": "ifseg-rt-artifact", "schema_version": 3}', "schema version 3; this build reads versions 1 to 2"),
    ],
)
def test_foreign_sidecar(own_model: Path, text: str, reason: str) -> None:
    sidecar_path(own_model).write_text(text)
    with pytest.raises(ArtifactError, match=reason):
        read_artifact(own_model)


def test_newer_version_asks_for_an_upgrade(own_model: Path) -> None:
    edit(own_model, lambda fields: fields.update(schema_version=9))
    with pytest.raises(ArtifactError) as caught:
        read_artifact(own_model)
    assert caught.value.hint == "upgrade ifseg-rt"


@pytest.mark.parametrize(
    "change",
    [
        lambda fields: fields["categories"][0].update(name="pink"),
        lambda fields: fields["categories"].reverse(),
        lambda fields: fields["preprocess"].update(mean=[0.4, 0.5, 0.5]),
        lambda fields: fields.update(extra=1),
        lambda fields: fields.update(integrity=""),
        lambda fields: fields.pop("integrity"),
    ],
)
def test_edited_sidecar(own_model: Path, change: Callable[[dict[str, Any]], None]) -> None:
    edit(own_model, change)
    with pytest.raises(ArtifactError, match="was changed after the export"):
        read_artifact(own_model)


def test_edited_model(own_model: Path) -> None:
    content = bytearray(own_model.read_bytes())
    content[len(content) // 2] ^= 1
    own_model.write_bytes(content)
    with pytest.raises(ArtifactError, match="expected SHA-256"):
        read_artifact(own_model)


def test_truncated_model(own_model: Path) -> None:
    own_model.write_bytes(own_model.read_bytes()[:-10])
    with pytest.raises(ArtifactError, match=r"expected \d+ bytes, found \d+"):
        read_artifact(own_model)


def test_missing_data_file(own_model: Path) -> None:
    data = own_model.with_name("model.onnx.data")
    data.write_bytes(b"weights")
    artifact = read_artifact(own_model)
    artifact = msgspec.structs.replace(artifact, files=(*artifact.files, file_record(data)))
    write_artifact(artifact, sidecar_path(own_model))
    assert len(read_artifact(own_model).files) == 2
    data.unlink()
    with pytest.raises(ArtifactError, match=r"model\.onnx\.data is missing"):
        read_artifact(own_model)


def test_a_sealed_sidecar_must_also_make_sense(own_model: Path) -> None:
    artifact = read_artifact(own_model)
    before = sidecar_path(own_model).read_bytes()
    for wrong in (
        {"grid": (3, 3)},
        {"categories": ()},
        {"categories": (artifact.categories[0],) * 4},
        {"refinement": msgspec.structs.replace(artifact.refinement, neighbours=9)},
        {"outputs": artifact.outputs[:2]},
        {"provenance": {"final_loss": float("nan")}},
        {"files": (msgspec.structs.replace(artifact.files[0], name="../model.onnx"),)},
        {"preprocess": msgspec.structs.replace(artifact.preprocess, std=(0.5, 0.0, 0.5))},
    ):
        with pytest.raises(ArtifactError, match="contradicts itself"):
            write_artifact(msgspec.structs.replace(artifact, **wrong), sidecar_path(own_model))
    assert sidecar_path(own_model).read_bytes() == before
    assert [path.name for path in own_model.parent.iterdir() if "part" in path.name] == []


@pytest.mark.parametrize(
    ("name", "reason", "hint"),
    [
        ("model.engine", "is an engine; expected the .onnx model", "model.onnx"),
        ("model.plan", "is an engine; expected the .onnx model", "model.onnx"),
        ("ckpt.pt", "is a checkpoint", "python -m export.to_onnx"),
        ("model.json", "is a sidecar", "model.onnx"),
        ("model", "is not a model", None),
    ],
)
def test_other_files_are_named(own_model: Path, name: str, reason: str, hint: str | None) -> None:
    with pytest.raises(ArtifactError, match=reason) as caught:
        read_artifact(own_model.with_name(name))
    assert hint is None or hint in str(caught.value.hint)
