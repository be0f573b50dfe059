"""The user's cache folder: where it lies, who waits for whom, and files that are never half written."""

from __future__ import annotations

from pathlib import Path

import platformdirs
import pytest
from filelock import Timeout

from ifseg_rt.backends.onnx_runtime.session import TENSORRT, providers_for
from ifseg_rt.cache import CACHE_VARIABLE, cache_folder, file_lock, replace_file


def test_the_folder_is_the_one_in_the_environment_or_the_systems(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "mine"))
    assert cache_folder("kernels") == tmp_path / "mine" / "kernels"
    assert not (tmp_path / "mine").exists()
    for nothing in (lambda: monkeypatch.setenv(CACHE_VARIABLE, ""), lambda: monkeypatch.delenv(CACHE_VARIABLE)):
        nothing()
        assert cache_folder("kernels") == platformdirs.user_cache_path("ifseg-rt") / "kernels"


def test_engines_of_onnx_runtime_are_kept_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    options = dict(found for found in providers_for("tensorrt") if isinstance(found, tuple))[TENSORRT]
    assert options["trt_engine_cache_path"] == str(tmp_path / "onnxruntime-tensorrt")
    assert (tmp_path / "onnxruntime-tensorrt").is_dir()


def test_a_lock_keeps_others_out_until_it_is_released(tmp_path: Path) -> None:
    path = tmp_path / "new" / "lock"
    with file_lock(path), pytest.raises(Timeout), file_lock(path, wait=0):
        pass
    with file_lock(path, wait=0):
        assert path.is_file()


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "file"
    replace_file(path, b"first")
    replace_file(path, b"second")
    assert path.read_bytes() == b"second"
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(OSError, match="folder"):
        replace_file(folder, b"not a file")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "folder"]
