"""Compiles the kernels with NVRTC and keeps the machine code in the user's cache folder."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ifseg_rt.cache import seal, unseal, usable_folder
from ifseg_rt.errors import DeviceError

if TYPE_CHECKING:
    from types import ModuleType

# Source files and the kernels each defines.
SOURCES = {
    "preprocess": ("preprocess",),
    "softmax": ("softmax",),
    "refine": ("refine_1", "refine_2", "refine_4", "refine_6", "refine_12", "refine_any"),
    "labels": ("labels", "labels_valued"),
    "scores": ("not_finite", "transpose"),
}
# Turing, A100, GeForce 30, Orin, GeForce 40, H100/H200, B200, GeForce 50. Others are compiled where they are met.
TARGETS = ("sm_75", "sm_80", "sm_86", "sm_87", "sm_89", "sm_90", "sm_100", "sm_120")

_FOLDER = Path(__file__).parent
_HEADER = "device.cuh"
_CACHE_BYTES = 64 * 1024 * 1024  # one device's kernels are 0.3 MB


@dataclass(frozen=True)
class Compiled:
    """Machine code of one source file.

    Attributes:
        code: a cubin, or PTX text for a device newer than the compiler.
        kind: ``cubin`` or ``ptx``.
        log: what the compiler said, with registers and shared memory of every kernel; empty from the cache.
    """

    code: bytes
    kind: str
    log: str


def source_text(source: str) -> str:
    """The whole text of one of :data:`SOURCES`, its header in place."""
    text = (_FOLDER / f"{source}.cu").read_text(encoding="utf-8")
    header = (_FOLDER / _HEADER).read_text(encoding="utf-8")
    return text.replace(f'#include "{_HEADER}"', f'#line 1 "{_HEADER}"\n{header}\n#line 1 "{source}.cu"\n', 1)


def cuda_core() -> ModuleType:
    """Import cuda.core.

    Raises:
        DeviceError: it, or the CUDA bindings under it, is not installed.
    """
    try:
        return import_module("cuda.core")
    except ImportError as error:
        raise DeviceError(f"the CUDA kernels need cuda.core, which does not import: {error}", hint=_INSTALL) from error


_INSTALL = 'pip install "ifseg-rt[rtx]" or "ifseg-rt[tensorrt]"; the CPU path needs neither: use the ONNX model'


def compile_source(source: str, target: str) -> Compiled:
    """Compile one of :data:`SOURCES` for ``sm_NN`` (a cubin) or ``compute_NN`` (PTX), without any cache.

    Raises:
        DeviceError: cuda.core or NVRTC is missing, or NVRTC refuses the target or the source.
    """
    core = cuda_core()
    log = io.StringIO()
    kind = "ptx" if target.startswith("compute_") else "cubin"
    try:
        options = _options(core, source, target)
        code = core.Program(source_text(source), "c++", options).compile(kind, logs=log).code
    except Exception as error:  # NVRTC's and the loader's errors share no base but Exception
        raise _explained(error, source, target) from error
    return Compiled(code.encode() if isinstance(code, str) else bytes(code), kind, log.getvalue().replace("\0", ""))


def load(source: str, capability: tuple[int, int]) -> Any:  # noqa: ANN401 (a cuda.core.ObjectCode)
    """One source, compiled for a compute capability (or read from the cache), as a loadable ``ObjectCode``.

    A cache folder that cannot be made, read or written only costs the compilation, about a second per device.

    Raises:
        DeviceError: as :func:`compile_source`.
    """
    core = cuda_core()
    target = choose_target(capability, _known_capabilities(source))
    compiled = _cached(core, source, target)
    make = core.ObjectCode.from_ptx if compiled.kind == "ptx" else core.ObjectCode.from_cubin
    return make(compiled.code, name=source)


def choose_target(capability: tuple[int, int], known: Sequence[int]) -> str:
    """``sm_NN`` where the compiler knows the capability, else PTX of the newest older one, for the driver to finish.

    Raises:
        DeviceError: the device is older than anything the compiler knows.
    """
    number = 10 * capability[0] + capability[1]
    if number in known:
        return f"sm_{number}"
    older = [value for value in known if value < number]
    if not older:
        raise DeviceError(
            f"this GPU has compute capability {capability[0]}.{capability[1]}; the installed NVRTC compiles for "
            f"{min(known) / 10:.1f} and newer",
            hint="use the ONNX model on the CPU, or an NVRTC of an older CUDA release",
        )
    return f"compute_{max(older)}"


def _known_capabilities(source: str) -> list[int]:
    try:
        nvrtc = import_module("cuda.bindings.nvrtc")
        _, known = nvrtc.nvrtcGetSupportedArchs()
    except Exception as error:
        raise _explained(error, source, "any target") from error
    return [int(value) for value in known]


def _options(core: ModuleType, source: str, target: str) -> Any:  # noqa: ANN401
    # fma=False: products and sums are rounded one by one, as the NumPy definitions do.
    return core.ProgramOptions(std="c++17", arch=target, fma=False, ptxas_options="-v", name=f"{source}.cu")


def _cached(core: ModuleType, source: str, target: str) -> Compiled:
    kind = "ptx" if target.startswith("compute_") else "cubin"
    try:
        utils = import_module("cuda.core.utils")
        if not hasattr(utils, "FileStreamProgramCache"):  # an older cuda.core
            return compile_source(source, target)
        cache = utils.FileStreamProgramCache(usable_folder("kernels"), max_size_bytes=_CACHE_BYTES)
        key = utils.make_program_cache_key(
            code=source_text(source), code_type="c++", options=_options(core, source, target), target_type=kind
        )
        stored = cache.get(key)
    except (OSError, RuntimeError):  # no home, read-only, full ...
        return compile_source(source, target)
    # A digest in front: machine code that a full disk or a crash cut short must not reach the driver.
    code = None if stored is None else unseal(stored)
    if code is not None:
        return Compiled(code, kind, "")
    compiled = compile_source(source, target)
    try:
        cache[key] = seal(compiled.code)
    except OSError:
        return compiled
    return compiled


def _explained(error: Exception, source: str, target: str) -> DeviceError:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    if type(error).__name__ in {"DynamicLibNotFoundError", "DynamicLibNotAvailableError", "ImportError"}:
        return DeviceError(f"the CUDA kernels need a library that does not load: {lines[0]}", hint=_INSTALL)
    told = next((line for line in lines if "error" in line and "NVRTC_ERROR" not in line), lines[0])
    return DeviceError(f"kernels/{source}.cu does not compile for {target}: {told}")
