"""Engines that are truncated, foreign, renamed or described by an edited sidecar: each is told apart, in one line."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from ifseg_rt.artifact.file_kinds import identify
from ifseg_rt.artifact.sidecar import read_artifact
from ifseg_rt.errors import ArtifactError
from ifseg_rt.tensorrt.installed import TensorRt
from ifseg_rt.tensorrt.schema import EngineArtifact, EngineParity
from ifseg_rt.tensorrt.sidecar import engine_sidecar_path, read_engine, write_engine_sidecar


def test_what_an_engine_says_about_itself(built: Path, rtx: TensorRt) -> None:
    engine = read_engine(built / "model.engine")
    assert engine.model == read_artifact(built / "model.onnx")
    assert engine.onnx == engine.model.files[0]
    assert [spec.name for spec in engine.outputs] == ["logits", "neighbours"]
    assert engine.inputs == engine.model.inputs
    assert engine.engine.bytes == (built / "model.engine").stat().st_size
    assert engine.build.version == rtx.version
    assert engine.build.cuda in (None, "12", "13")
    assert engine.parity == EngineParity(skipped="it was not compared")
    assert len(engine.integrity) == 64


def test_a_plain_engine_file(built: Path) -> None:
    """Nothing of ours in it: it begins as TensorRT-RTX wrote it."""
    assert (built / "model.engine").read_bytes()[:4] == b"vtrt"
    assert identify(built / "model.engine").runtime == "tensorrt_rtx"
    assert identify(built / "model.onnx").suffix == ".onnx"
    assert identify(built / "model.json").suffix == ".json"
    assert not identify(built / "absent").is_engine


def refused(path: Path) -> ArtifactError:
    with pytest.raises(ArtifactError) as caught:
        read_engine(path)
    assert caught.value.exit_code == 4
    assert "\n" not in str(caught.value)
    assert caught.value.hint is not None
    return caught.value


def test_truncated(own_engine: Path) -> None:
    data = own_engine.read_bytes()
    own_engine.write_bytes(data[:-1000])
    error = refused(own_engine)
    assert f"expected {len(data)} bytes, found {len(data) - 1000} (the copy is not complete)" in str(error)
    assert "ifseg-rt rebuild" in str(error.hint)
    own_engine.write_bytes(b"")
    assert "it is an empty file, expected an engine of TensorRT-RTX" in str(refused(own_engine))


def test_changed(own_engine: Path) -> None:
    data = bytearray(own_engine.read_bytes())
    data[-100] ^= 1
    own_engine.write_bytes(data)
    assert "expected SHA-256" in str(refused(own_engine))


def test_of_another_flavour(own_engine: Path) -> None:
    own_engine.write_bytes(b"ftrt" + own_engine.read_bytes()[4:])
    assert "it is an engine of TensorRT, expected an engine of TensorRT-RTX" in str(refused(own_engine))


def test_a_model_under_an_engines_name(own_engine: Path) -> None:
    shutil.copy(own_engine.with_suffix(".onnx"), own_engine)
    assert "it is an ONNX model, expected an engine of TensorRT-RTX" in str(refused(own_engine))
    engine_sidecar_path(own_engine).unlink()
    error = refused(own_engine)
    assert str(error).endswith("model.engine is an ONNX model, not an engine")
    assert error.hint == "give it its own suffix again: .onnx"


def test_renamed_alone(own_engine: Path) -> None:
    other = own_engine.rename(own_engine.with_name("street.engine"))
    error = refused(other)
    assert "is the engine that model.engine.json describes, under another name" in str(error)
    assert error.hint == "rename both together: model.engine.json to street.engine.json"
    engine_sidecar_path(own_engine).rename(engine_sidecar_path(other))
    assert read_engine(other).engine.name == "model.engine"


def test_without_a_sidecar(own_engine: Path) -> None:
    engine_sidecar_path(own_engine).unlink()
    error = refused(own_engine)
    assert "has no sidecar: expected model.engine.json beside it" in str(error)
    assert "there is no engine" in str(refused(own_engine.with_name("none.engine")))


def test_the_models_own_sidecar_is_not_the_engines(own_engine: Path) -> None:
    shutil.copy(own_engine.with_name("model.json"), engine_sidecar_path(own_engine))
    assert 'expected "kind": "ifseg-rt-engine", found \'ifseg-rt-artifact\'' in str(refused(own_engine))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda fields: fields["build"].update(version="9.9"), "was changed after the build"),
        (lambda fields: fields["model"]["categories"][0].update(name="cat"), "was changed after the build"),
        (lambda fields: fields.update(schema_version=99), "schema version 99; this build reads versions 1 to 2"),
        (lambda fields: fields.update(kind="else"), "found 'else'"),
    ],
)
def test_an_edited_sidecar(own_engine: Path, change: Callable[[dict], None], message: str) -> None:
    sidecar = engine_sidecar_path(own_engine)
    fields = json.loads(sidecar.read_text())
    change(fields)
    sidecar.write_text(json.dumps(fields))
    assert message in str(refused(own_engine))


def test_a_sidecar_that_is_no_json(own_engine: Path) -> None:
    engine_sidecar_path(own_engine).write_text("{")
    assert "is not valid JSON" in str(refused(own_engine))
    engine_sidecar_path(own_engine).write_text("[]")
    assert "found a JSON list" in str(refused(own_engine))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda e: msgspec.structs.replace(e, parity=EngineParity()), "parity is neither measured nor explained"),
        (
            lambda e: msgspec.structs.replace(e, build=msgspec.structs.replace(e.build, version_compatible=True)),
            "no version or hardware compatibility",
        ),
        (
            lambda e: msgspec.structs.replace(e, build=msgspec.structs.replace(e.build, runtime="tensorrt")),
            "for one compute capability",
        ),
        (
            lambda e: msgspec.structs.replace(e, onnx=msgspec.structs.replace(e.onnx, bytes=1)),
            "onnx is not the first file",
        ),
        (
            lambda e: msgspec.structs.replace(e, model=msgspec.structs.replace(e.model, batch=2)),
            "its model: input 'image'",
        ),
    ],
)
def test_contradictions_are_never_written(
    own_engine: Path, change: Callable[[EngineArtifact], EngineArtifact], message: str
) -> None:
    sidecar = engine_sidecar_path(own_engine)
    before = sidecar.read_bytes()
    with pytest.raises(ArtifactError, match=message):
        write_engine_sidecar(change(read_engine(own_engine)), sidecar)
    assert sidecar.read_bytes() == before


def test_version_1_is_read(own_engine: Path) -> None:
    """As version 1 was written: the model's sidecar inside it and the engine's own, each under its seal."""
    sidecar = engine_sidecar_path(own_engine)
    fields = json.loads(sidecar.read_bytes())
    for part in (fields["model"], fields):
        del part["integrity"]
        part["schema_version"] = 1
        sealed = json.dumps(part, sort_keys=True, separators=(",", ":"))
        part["integrity"] = hashlib.sha256(sealed.encode()).hexdigest()
    sidecar.write_text(json.dumps(fields, indent=1) + "\n")
    old = read_engine(own_engine)
    assert (old.schema_version, old.model.schema_version) == (1, 1)
    written = write_engine_sidecar(old, sidecar)
    assert (written.schema_version, written.model) == (2, old.model)
    assert read_engine(own_engine) == written
