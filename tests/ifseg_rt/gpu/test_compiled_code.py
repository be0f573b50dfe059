"""Where compiled code of engines is kept, and by several at once."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from filelock import FileLock

from ifseg_rt.backends.tensorrt import rtx_cache
from ifseg_rt.machine import GpuFacts, Machine


def checked(name: str = "NVIDIA GeForce RTX 3060", sha256: str = "ab" * 32, version: str = "1.7.1.116") -> Any:
    gpu = GpuFacts(name, "8.6", 1 << 30, "13.0")
    return SimpleNamespace(
        machine=Machine("linux-x86_64", gpu),
        tensorrt=SimpleNamespace(name="tensorrt_rtx", version=version),
        artifact=SimpleNamespace(engine=SimpleNamespace(sha256=sha256)),
    )


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("IFSEG_RT_CACHE", str(tmp_path))
    return tmp_path


def test_one_file_per_version_gpu_and_engine(own_cache: Path) -> None:
    path = rtx_cache.cache_file(checked())
    folder = "tensorrt-rtx-1.7.1.116-NVIDIA-GeForce-RTX-3060-sm8.6"
    assert path == own_cache / "compiled" / folder / f"{'ab' * 16}.bin"
    others = [checked(name="NVIDIA H200"), checked(sha256="cd" * 32), checked(version="1.8.0.1")]
    assert len({path, *map(rtx_cache.cache_file, others)}) == 4
    odd = rtx_cache.cache_file(checked(name="a/../b \\ c"))
    assert odd.parent.parent == own_cache / "compiled"
    unknown = checked()
    unknown.machine = Machine("linux-x86_64")
    assert rtx_cache.cache_file(unknown).parent.name.endswith("-unknown")


class Cache:
    """Behaves as TensorRT-RTX documents its IRuntimeCache."""

    def __init__(self, content: bytes = b"", accepts: bool = True) -> None:
        self.content, self.accepts = content, accepts

    def deserialize(self, blob: bytes) -> bool:
        if self.accepts:
            self.content = bytes(blob)
        return self.accepts

    def serialize(self) -> bytes:
        return self.content


def test_many_writers_leave_one_whole_file(own_cache: Path) -> None:
    path = own_cache / "code.bin"
    contents = [bytes([65 + index]) * 50_000 for index in range(6)]

    torn: list[bytes] = []

    def read() -> bytes:
        reader = Cache(b"")
        rtx_cache.open_cache(SimpleNamespace(create_runtime_cache=lambda: reader), path)
        return reader.content

    def work(content: bytes) -> None:
        for _ in range(5):
            rtx_cache.store(Cache(content), path, b"")
            if (found := read()) not in contents:
                torn.append(found)

    threads = [threading.Thread(target=work, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert not torn
    assert read() in contents
    assert sorted(file.name for file in own_cache.iterdir()) == ["code.bin", "lock"]


def test_whoever_holds_the_lock_too_long_costs_only_time(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ifseg_rt.cache._WAIT", 0.05)
    path = own_cache / "code.bin"
    path.write_bytes(b"old")
    with FileLock(own_cache / "lock"):
        assert rtx_cache.store(Cache(b"new"), path, b"") == b""
        cache = Cache(b"")
        assert rtx_cache.open_cache(SimpleNamespace(create_runtime_cache=lambda: cache), path) == (cache, b"")
    assert path.read_bytes() == b"old"


def test_a_cache_that_cannot_be_serialised_costs_only_time(own_cache: Path) -> None:
    def fails() -> bytes:
        raise RuntimeError("a null pointer")

    path = own_cache / "code.bin"
    for serialize in (fails, lambda: None, lambda: b""):
        assert rtx_cache.store(SimpleNamespace(serialize=serialize), path, b"known") == b"known"
    assert not path.exists()


def test_the_real_buffer_of_tensorrt_is_readable() -> None:
    trt = pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx is not installed")
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    image = network.add_input("image", trt.float32, (1, 3))
    network.mark_output(network.add_identity(image).get_output(0))
    memory = builder.build_serialized_network(network, builder.create_builder_config())
    assert len(bytes(memoryview(memory))) == memory.nbytes > 0


def test_compiled_code_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "code.bin"
    cache = Cache()
    assert rtx_cache.open_cache(SimpleNamespace(create_runtime_cache=lambda: cache), path) == (cache, b"")
    cache.content = b"compiled"
    assert rtx_cache.store(cache, path, b"") == b"compiled"
    later = Cache()
    assert rtx_cache.open_cache(SimpleNamespace(create_runtime_cache=lambda: later), path) == (later, b"compiled")
    assert later.content == b"compiled"
    foreign = Cache(accepts=False)
    assert rtx_cache.open_cache(SimpleNamespace(create_runtime_cache=lambda: foreign), path) == (foreign, b"")
    assert rtx_cache.open_cache(SimpleNamespace(create_runtime_cache=lambda: None), path) == (None, b"")
    before = path.stat().st_mtime_ns
    assert rtx_cache.store(later, path, b"compiled") == b"compiled"
    assert path.stat().st_mtime_ns == before, "what is known is not written again"


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / "code.bin"
    cache = Cache(b"compiled")
    assert rtx_cache.store(cache, path, b"") == b""
    assert rtx_cache.open_cache(SimpleNamespace(create_runtime_cache=lambda: cache), path) == (cache, b"")


def test_old_code_goes(tmp_path: Path) -> None:
    import os

    for index in range(40):
        path = tmp_path / f"{index:02}.bin"
        path.write_bytes(b"x")
        os.utime(path, (index, index))
    rtx_cache.store(Cache(b"new"), tmp_path / "new.bin", b"")
    left = sorted(path.name for path in tmp_path.glob("*.bin"))
    assert len(left) == 32
    assert {"new.bin", "39.bin"} <= set(left)
    assert "00.bin" not in left
