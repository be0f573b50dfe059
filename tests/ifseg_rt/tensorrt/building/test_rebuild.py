"""``ifseg-rt rebuild``: engines made again from the ONNX model beside them, with the settings they had."""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from ifseg_rt.cli import rebuild as command
from ifseg_rt.errors import ArtifactError, IfsegError, UsageError
from ifseg_rt.machine import Machine
from ifseg_rt.tensorrt.building import rebuild
from ifseg_rt.tensorrt.building.rebuild import rebuild_engine, settings_before
from ifseg_rt.tensorrt.building.settings import BuildSettings
from ifseg_rt.tensorrt.installed import TensorRt
from ifseg_rt.tensorrt.sidecar import engine_sidecar_path, read_engine, write_engine_sidecar


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("damage", ["truncated", "missing", "engine and sidecar missing", "edited sidecar"])
def test_a_damaged_engine_is_made_again(own_engine: Path, bare_machine: Machine, damage: str) -> None:
    sidecar = engine_sidecar_path(own_engine)
    if damage == "truncated":
        own_engine.write_bytes(own_engine.read_bytes()[:1000])
    elif damage == "edited sidecar":
        sidecar.write_text(sidecar.read_text().replace("red", "rot"))
    else:
        own_engine.unlink()
        if "sidecar" in damage:
            sidecar.unlink()
    notes: list[str] = []
    rebuild_engine(own_engine, machine=bare_machine, on_note=notes.append)
    engine = read_engine(own_engine)
    assert engine.parity.skipped is not None and "built again" in engine.parity.skipped
    assert names(own_engine.parent) == ["model.engine", "model.engine.json", "model.json", "model.onnx"]
    assert ("cannot be trusted" in notes[0]) is (damage == "edited sidecar")


def test_a_renamed_engine_finds_its_model(own_engine: Path, bare_machine: Machine) -> None:
    other = own_engine.rename(own_engine.with_name("street.engine"))
    engine_sidecar_path(own_engine).rename(engine_sidecar_path(other))
    assert rebuild_engine(other, machine=bare_machine).onnx.name == "model.onnx"
    own_engine.with_suffix(".onnx").unlink()
    with pytest.raises(ArtifactError, match=r"expected its ONNX model beside it \(street\.onnx or model\.onnx\)"):
        rebuild_engine(other, machine=bare_machine)


def test_another_model_is_not_taken_silently(
    own_engine: Path, bare_machine: Machine, make_artifact: Callable[..., Path]
) -> None:
    before = own_engine.read_bytes()
    make_artifact(own_engine.parent, height=32, width=32)
    with pytest.raises(
        ArtifactError, match=r"model\.onnx is not the model that model\.engine was built from"
    ) as caught:
        rebuild_engine(own_engine, machine=bare_machine)
    assert own_engine.read_bytes() == before
    assert caught.value.hint == f"if that is meant: ifseg-rt rebuild {own_engine.with_suffix('.onnx')}"
    rebuild_engine(own_engine.with_suffix(".onnx"), machine=bare_machine)
    assert read_engine(own_engine).model.preprocess.height == 32


def test_a_failure_leaves_everything_as_it_was(
    own_engine: Path, bare_machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*arguments: object, **more: object) -> None:
        raise KeyboardInterrupt

    before = {path.name: path.read_bytes() for path in own_engine.parent.iterdir()}
    monkeypatch.setattr(rebuild, "write_engine", fails)
    with pytest.raises(KeyboardInterrupt):
        rebuild_engine(own_engine, machine=bare_machine)
    assert {path.name: path.read_bytes() for path in own_engine.parent.iterdir()} == before


def test_settings_are_kept_as_far_as_they_apply(
    own_engine: Path, rtx: TensorRt, full: TensorRt, gpu_machine: Machine, bare_machine: Machine
) -> None:
    engine = read_engine(own_engine)

    def with_build(**changes: object) -> object:
        return msgspec.structs.replace(engine, build=msgspec.structs.replace(engine.build, **changes))

    assert settings_before(None, rtx, gpu_machine) == BuildSettings()
    assert settings_before(engine, rtx, gpu_machine).compute_capabilities == ()
    ada = with_build(compute_capabilities=("8.9",), workspace_mb=64)
    assert settings_before(ada, rtx, bare_machine) == BuildSettings(("8.9",), workspace_mb=64)
    assert settings_before(ada, rtx, gpu_machine).compute_capabilities == ("current",)
    assert settings_before(ada, full, gpu_machine).compute_capabilities == ()
    wide = with_build(
        runtime="tensorrt",
        compute_capabilities=("8.0",),
        version_compatible=True,
        hardware_compatibility="ampere_plus",
    )
    assert settings_before(wide, full, gpu_machine) == BuildSettings((), True, "ampere_plus")
    assert settings_before(wide, rtx, gpu_machine) == BuildSettings()


def test_a_flavour_that_is_not_here(own_engine: Path, rtx: TensorRt, bare_machine: Machine) -> None:
    engine = read_engine(own_engine)
    build = msgspec.structs.replace(engine.build, runtime="tensorrt", version="10.3.0", compute_capabilities=("8.7",))
    write_engine_sidecar(msgspec.structs.replace(engine, build=build), engine_sidecar_path(own_engine))
    notes: list[str] = []
    made = rebuild_engine(own_engine, machine=bare_machine, on_note=notes.append)
    assert made.build.runtime == "tensorrt_rtx"
    assert notes[0].startswith(f"building with {rtx.title}: TensorRT is not usable here")


@pytest.mark.parametrize(
    ("path", "output", "message"),
    [
        ("ckpt.pt", None, "neither an ONNX model nor an engine"),
        ("model.onnx", "out.onnx", r"must end in \.engine, \.plan, \.trt"),
        ("model.onnx", "none/out.engine", "does not exist"),
    ],
)
def test_paths_that_cannot_be_meant(
    built: Path, bare_machine: Machine, path: str, output: str | None, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        rebuild_engine(built / path, output=None if output is None else built / output, machine=bare_machine)


def test_a_folder_that_cannot_be_written(
    built: Path, bare_machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def full_disk(drafts: object, folder: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(rebuild, "move_into_place", full_disk)
    with pytest.raises(IfsegError, match=r"cannot write .*out\.engine: No space left on device"):
        rebuild_engine(built / "model.onnx", output=tmp_path / "out.engine", machine=bare_machine)
    assert not list(tmp_path.glob("*out*"))


def test_the_command(own_engine: Path, capsys: pytest.CaptureFixture[str], own_cache: Path) -> None:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    target = own_engine.with_name("other.engine")
    onnx = own_engine.with_suffix(".onnx")
    arguments = [str(onnx), "-o", str(target), "--runtime", "tensorrt_rtx", "--compute-capability", "8.6", "8.9"]
    assert command.run(parser.parse_args(arguments)) == 0
    said = capsys.readouterr()
    result = json.loads(said.out)
    assert result["engine"] == str(target)
    assert result["compute_capabilities"] == ["8.6", "8.9"]
    assert result["bytes"] == target.stat().st_size
    assert (result["precision"], result["size"], result["categories"]) == ("fp32", [64, 96], 4)
    lines = said.err.splitlines()
    assert lines[0].startswith("building other.engine from model.onnx with TensorRT-RTX")
    assert lines[1].startswith("building engine (")
    assert lines[-1].startswith(f"wrote {target} (")
    assert command.run(parser.parse_args([str(target), "--quiet", "--runtime", "tensorrt_rtx"])) == 0
    assert capsys.readouterr().err == ""
    assert read_engine(target).build.compute_capabilities == ("8.6", "8.9")


def test_neither_torch_nor_onnx_is_needed(built: Path, tmp_path: Path, root: Path, own_cache: Path) -> None:
    shutil.copytree(built, tmp_path / "edge")
    program = (
        "import sys\n"
        "for name in ('torch', 'onnx', 'onnxruntime', 'train', 'export'): sys.modules[name] = None\n"
        "from ifseg_rt.tensorrt.building.rebuild import rebuild_engine\n"
        f"rebuild_engine({str(tmp_path / 'edge' / 'model.engine')!r}, runtime='tensorrt_rtx')\n"
    )
    subprocess.run([sys.executable, "-c", program], cwd=root, check=True)
    assert read_engine(tmp_path / "edge" / "model.engine").engine.bytes > 1000
