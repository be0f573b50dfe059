"""Compilation: every kernel for every target, the cache on disk, and clear errors where something is missing."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest

from ifseg_rt.cli.compile_kernels import main
from ifseg_rt.errors import DeviceError
from ifseg_rt.kernels import compile as compiling
from ifseg_rt.kernels.compile import SOURCES, TARGETS, choose_target, compile_source


def installed() -> bool:
    try:
        return importlib.util.find_spec("cuda.core") is not None
    except ModuleNotFoundError:  # not even the package around it
        return False


needs_cuda_core = pytest.mark.skipif(not installed(), reason="cuda.core is not installed: nothing can be compiled")


@needs_cuda_core
def test_the_compiler_knows_every_target() -> None:
    _, known = import_module("cuda.bindings.nvrtc").nvrtcGetSupportedArchs()
    assert {int(target.removeprefix("sm_")) for target in TARGETS} <= set(known)


# sm_86 and sm_87 get the registers, spills and shared memory of sm_89, kernel by kernel; all others differ.
@needs_cuda_core
@pytest.mark.parametrize("target", [target for target in TARGETS if target not in ("sm_86", "sm_87")])
def test_every_kernel_compiles_for(target: str) -> None:
    for source, names in SOURCES.items():
        compiled = compile_source(source, target)
        assert compiled.code[:4] == b"\x7fELF"
        assert "warning" not in compiled.log.lower(), compiled.log
        for name in names:
            told = compiled.log.split(f"entry function '{name}'")[1].split("entry function")[0]
            assert int(re.search(r"(\d+) bytes spill stores", told)[1]) <= 16, told
            shared = re.search(r"(\d+) bytes smem", told)
            assert int(shared[1] if shared else 0) <= 8192  # several blocks share a multiprocessor
            most = 64 if name.startswith("refine") else 96  # 64 x 1024 threads are all registers there are
            assert int(re.search(r"Used (\d+) registers", told)[1]) <= most, told


@needs_cuda_core
def test_products_and_sums_are_not_fused() -> None:
    """The labels kernel's definition rounds every operation: no fused multiply-add but the one that asks for it."""
    text = compiling.cuda_core()
    options = text.ProgramOptions(std="c++17", arch="sm_90", fma=False)
    assert b"--fmad=false" in options.as_bytes("nvrtc")


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("IFSEG_RT_CACHE", str(folder))
    return folder


@needs_cuda_core
def test_the_cache_spares_the_second_compilation(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    core = compiling.cuda_core()
    first = compiling._cached(core, "softmax", "sm_90")
    assert [path for path in (cache / "kernels").rglob("*") if path.is_file()]

    def refuse(*_: object) -> None:
        raise AssertionError("compiled again")

    monkeypatch.setattr(compiling, "compile_source", refuse)
    assert compiling._cached(core, "softmax", "sm_90").code == first.code
    with pytest.raises(AssertionError, match="compiled again"):
        compiling._cached(core, "softmax", "sm_80")


@needs_cuda_core
def test_a_damaged_cache_entry_is_compiled_again(cache: Path) -> None:
    core = compiling.cuda_core()
    first = compiling._cached(core, "softmax", "sm_90")
    (entry,) = (path for path in cache.rglob("*") if path.is_file())
    entry.write_bytes(entry.read_bytes()[:-100])
    assert compiling._cached(core, "softmax", "sm_90").code == first.code


@needs_cuda_core
def test_a_folder_that_cannot_be_made_only_costs_time(cache: Path) -> None:
    cache.write_text("a file where the folder should be", encoding="utf-8")
    assert compiling._cached(compiling.cuda_core(), "softmax", "sm_90").code[:4] == b"\x7fELF"


@needs_cuda_core
def test_an_error_in_a_kernel_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "source_text", lambda _: 'extern "C" __global__ void f() { missing; }')
    with pytest.raises(DeviceError, match=r"kernels/labels.cu does not compile for sm_90: .*missing"):
        compile_source("labels", "sm_90")


@needs_cuda_core
def test_a_target_the_compiler_does_not_know_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--targets", "sm_11"]) == DeviceError.exit_code
    assert "sm_11" in capsys.readouterr().err


def test_targets_of_devices() -> None:
    known = [75, 80, 86, 87, 89, 90, 100, 120]
    assert choose_target((8, 7), known) == "sm_87"
    assert choose_target((13, 0), known) == "compute_120"  # a GPU of tomorrow: the driver finishes PTX
    assert choose_target((8, 8), known) == "compute_87"
    with pytest.raises(DeviceError, match=r"compute capability 6.1; the installed NVRTC compiles for 7.5 and newer"):
        choose_target((6, 1), known)


def test_without_cuda_core_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr(compiling, "import_module", absent)
    with pytest.raises(DeviceError, match=r"need cuda\.core") as caught:
        compile_source("labels", "sm_90")
    assert "pip install" in str(caught.value.hint)
    assert main(["--targets", "sm_90"]) == DeviceError.exit_code


def test_without_nvrtc_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    class DynamicLibNotFoundError(RuntimeError):
        pass

    def refuse(*_: object, **__: object) -> None:
        raise DynamicLibNotFoundError("Failure finding libnvrtc.so: not on this computer\nsearched here and there")

    core = SimpleNamespace(ProgramOptions=lambda **_: None, Program=refuse)
    monkeypatch.setattr(compiling, "cuda_core", lambda: core)
    with pytest.raises(DeviceError, match=r"need a library that does not load: Failure finding libnvrtc.so") as caught:
        compile_source("labels", "sm_90")
    assert "pip install" in str(caught.value.hint)


@needs_cuda_core
def test_the_command_prints_a_table_and_writes_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--targets", "sm_87", "-o", str(tmp_path / "out")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:2] == ["kernel", "target"]
    assert {line.split()[0] for line in lines[1:]} == {name for names in SOURCES.values() for name in names}
    assert {path.name for path in (tmp_path / "out").iterdir()} == {f"{source}.sm_87.cubin" for source in SOURCES}


def test_a_misspelt_target_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--targets", "90"]) == 2
    assert "a target is written sm_NN or compute_NN; found 90" in capsys.readouterr().err


def test_importing_the_package_imports_no_cuda() -> None:
    script = "import sys, ifseg_rt.kernels.loaded; print('cuda.core' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
