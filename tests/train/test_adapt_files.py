"""``python -m train.adapt`` and its files: places that cannot be written, disks that fill up, Ctrl-C, resuming."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from train.adapt import main
from train.checkpoints import own as checkpoint
from train.load import MICRO

pytestmark = pytest.mark.skipif(not MICRO.is_file(), reason="the shipped micro checkpoint is not in this tree")

FULL = Path("/dev/full")
needs_full_device = pytest.mark.skipif(not FULL.is_char_device(), reason="this system has no /dev/full")


def options(out: Path, *more: str, steps: int = 2) -> list[str]:
    words = "--categories sky,road --batch-size 1 --device cpu --quiet --save-every 1"
    return [*words.split(), "--out", str(out), "--steps", str(steps), *more]


def press_within_update(updates: int, patch: pytest.MonkeyPatch) -> None:
    """Presses Ctrl-C within the update after so many, and once more while the resume file is written."""
    real_step, real_write = torch.optim.AdamW.step, checkpoint.write_atomically
    done = 0

    def step(self: torch.optim.AdamW, *given: Any) -> Any:
        nonlocal done
        done += 1
        if done == updates:
            signal.raise_signal(signal.SIGINT)
        return real_step(self, *given)

    def write(document: Any, path: Path) -> None:
        if done == updates:
            signal.raise_signal(signal.SIGINT)
        real_write(document, path)

    patch.setattr(torch.optim.AdamW, "step", step)
    patch.setattr(checkpoint, "write_atomically", write)


@pytest.fixture(scope="module", autouse=True)
def python_s_own_handler():
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, previous)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def weights(path: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = torch.load(path, weights_only=True)["model"]
    return found


def test_interrupted_twice_and_resumed_equals_uninterrupted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    whole, out = tmp_path / "whole.pt", tmp_path / "c.pt"
    assert main(options(whole)) == 0
    press_within_update(1, monkeypatch)
    assert main(options(out)) == 130
    assert capsys.readouterr().err == "stopped at step 1; go on with --resume\ninterrupted\n"
    assert names(tmp_path) == ["c.pt.resume", "whole.pt"]
    monkeypatch.undo()
    assert main(options(out, "--resume")) == 0
    assert capsys.readouterr().err == "resuming at step 1\n"
    assert names(tmp_path) == ["c.pt", "whole.pt"]
    one, two = weights(whole), weights(out)
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_nothing_to_resume_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(options(tmp_path / "c.pt", "--resume", steps=0)) == 0
    assert "nothing to resume" in capsys.readouterr().err


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def flip(path: Path) -> None:
    """One bit in the middle, where the numbers are."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def of_another_seed(path: Path) -> None:
    torch.save(torch.load(path, weights_only=True) | {"identity": "0" * 64}, path)


DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "cut off": (cut, "cut off or damaged"),
    "a flipped bit": (flip, "damaged: the checksum of"),
    "another seed": (of_another_seed, "another adaptation"),
}


@pytest.fixture(scope="module")
def resume_file(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    out = tmp_path_factory.mktemp("interrupted") / "c.pt"
    with pytest.MonkeyPatch.context() as patch:
        press_within_update(1, patch)
        assert main(options(out)) == 130
    return out.with_name("c.pt.resume").read_bytes()


@pytest.mark.parametrize("name", DAMAGES)
def test_a_resume_file_that_does_not_fit_is_refused_and_kept(
    name: str, resume_file: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    damage, words = DAMAGES[name]
    path = tmp_path / "c.pt.resume"
    path.write_bytes(resume_file)
    damage(path)
    kept = path.read_bytes()
    assert main(options(tmp_path / "c.pt", "--resume")) == 7
    captured = capsys.readouterr()
    first, second = captured.err.splitlines()
    assert first.startswith(f"error: {path}") and words in first
    assert second == "hint: delete it to start again" and captured.out == ""
    assert path.read_bytes() == kept and names(tmp_path) == ["c.pt.resume"]


def refusal(given: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> str:
    """The message of a usage error; the base is not even read."""
    monkeypatch.setattr("train.load.load_model", lambda *_, **__: pytest.fail("read the base first"))
    assert main(given) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ") and message.count("\n") == 2
    return message


def test_places_that_cannot_be_written_are_refused_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    assert "is a folder, expected a file" in refusal(options(tmp_path), capsys, monkeypatch)
    assert "does not exist" in refusal(options(tmp_path / "none" / "c.pt"), capsys, monkeypatch)
    # The file itself would fit, its resume file and its draft would not.
    assert "File name too long" in refusal(options(tmp_path / ("c" * 250)), capsys, monkeypatch)
    assert names(tmp_path) == []
    (tmp_path / "c.pt.resume").mkdir()
    assert "c.pt.resume is in the way" in refusal(options(tmp_path / "c.pt"), capsys, monkeypatch)
    (tmp_path / "file").touch()
    assert "does not exist" in refusal(options(tmp_path / "file" / "c.pt"), capsys, monkeypatch)


@needs_full_device
def test_a_device_is_not_replaced_by_a_checkpoint(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    assert "/dev/full is in the way" in refusal(options(FULL), capsys, monkeypatch)
    assert FULL.is_char_device()


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_a_folder_without_rights(
    number: int, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    """Rights do not bind the superuser, who may run this: the system's answer is given in its place."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(tempfile, "mkstemp", refuse)
    assert os.strerror(number) in refusal(options(tmp_path / "c.pt"), capsys, monkeypatch)


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """From the temporary file of this number on, everything is written to a device that is full."""

    def arm(first: int) -> None:
        real, made = tempfile.mkstemp, 0

        def mkstemp(**given: Any) -> tuple[int, str]:
            nonlocal made
            made += 1
            handle, name = real(**given)
            if made < first:
                return handle, name
            os.close(handle)
            return os.open(FULL, os.O_WRONLY), name

        monkeypatch.setattr(tempfile, "mkstemp", mkstemp)

    return arm


@needs_full_device
@pytest.mark.parametrize(("first", "missing", "left"), [(2, "c.pt.resume", []), (3, "c.pt", ["c.pt.resume"])])
def test_a_disk_that_fills_up(
    first: int,
    missing: str,
    left: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    full_disk: Callable[[int], None],
):
    """The first temporary file is the test of the place, the second a resume file, the third the result."""
    full_disk(first)
    assert main(options(tmp_path / "c.pt")) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith(
        f"error: cannot write {tmp_path / missing}: No space left on device\nhint: make room"
    )
    assert captured.out == "" and names(tmp_path) == left


@needs_full_device
def test_an_older_checkpoint_outlives_a_failed_write(tmp_path: Path, full_disk: Callable[[int], None]):
    out = tmp_path / "c.pt"
    shutil.copy(MICRO, out)
    full_disk(2)
    assert main(options(out, steps=0)) == 1
    assert out.read_bytes() == MICRO.read_bytes() and names(tmp_path) == ["c.pt"]


def test_a_disk_that_fills_up_in_the_middle(tmp_path: Path):
    """A limit of file size stands for a full disk: what is written first fits, and torch reports it in its own way."""
    code = (
        "import resource, sys; from train.adapt import main; "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10 << 20, 10 << 20)); sys.exit(main(sys.argv[1:]))"
    )
    given = [sys.executable, "-c", code, *options(tmp_path / "c.pt", steps=0)]
    done = subprocess.run(given, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith(f"error: cannot write {tmp_path / 'c.pt'}: File too large\n")
    assert names(tmp_path) == []


def test_an_incomplete_zip_file_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    def fail(*_: object) -> None:
        raise RuntimeError("[enforce fail at inline_container.cc:664] . unexpected pos 64 vs 0")

    monkeypatch.setattr(torch, "save", fail)
    assert main(options(tmp_path / "c.pt", steps=0)) == 1
    message = capsys.readouterr().err
    assert message.startswith(f"error: cannot write {tmp_path / 'c.pt'}: the file came out incomplete\n")
    assert names(tmp_path) == []


def test_nothing_that_is_read_is_written_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    own, words, link = tmp_path / "own.pt", tmp_path / "n.txt", tmp_path / "link.pt"
    shutil.copy(MICRO, own)
    shutil.copy(MICRO, tmp_path / "c.pt.resume")
    words.write_text("sky\n")
    link.symlink_to(own)
    base = ["--categories", "sky", "--base"]
    for given in (
        [*base, str(own), "--out", str(own)],
        [*base, str(own), "--out", str(link)],
        [*base, str(tmp_path), "--out", str(own)],
        [*base, str(tmp_path / "c.pt.resume"), "--out", str(tmp_path / "c.pt")],
        [*base, "micro", "--out", str(MICRO)],
        ["--categories-file", str(words), "--out", str(words)],
    ):
        assert "which is read" in refusal(given, capsys, monkeypatch)
    assert "no checkpoint of ours" in refusal([*base, "micro", "--out", str(words)], capsys, monkeypatch)
    assert words.read_text() == "sky\n" and own.read_bytes() == MICRO.read_bytes()


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGHUP", 129)])
def test_other_signals_leave_a_resume_file_too(name: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    if not hasattr(signal, name):
        pytest.skip(f"this system has no {name}")
    real = torch.optim.AdamW.step

    def step(self: torch.optim.AdamW, *given: Any) -> Any:
        signal.raise_signal(getattr(signal, name))
        return real(self, *given)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    given = options(tmp_path / "c.pt")
    given[given.index("--save-every") + 1] = "100"
    assert main(given) == code
    assert names(tmp_path) == ["c.pt.resume"]
    assert torch.load(tmp_path / "c.pt.resume", weights_only=True)["step"] == 1
