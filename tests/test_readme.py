"""Every command and snippet of the README is run, or, where a test cannot, its options are checked.

Marks in the README, each an HTML comment on the line before the fence:

- ``<!-- ci: NAME -->``: the block sets up an environment; ``.ci/run`` takes its text from the README and runs it.
- ``<!-- not run: REASON -->``: it needs what a test has not got; programs and options must exist all the same.

All other ``console`` and ``python`` blocks are run from top to bottom in one folder that looks like a checkout, word
for word but for one thing: adaptations take 2 steps, because their number changes only the minutes and the quality.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
_BLOCK = re.compile(
    r"(?:^<!-- (?P<mark>ci|not run): (?P<note>.+?) -->\n)?^```(?P<language>\w*)\n(?P<body>.*?)^```$", re.M | re.S
)


@dataclass(frozen=True)
class Block:
    """One fenced block; ``line`` is where its body starts."""

    line: int
    language: str
    mark: str
    note: str
    body: str

    def commands(self) -> list[list[str]]:
        """Split into words per command; continued lines are joined, comments and environment settings dropped."""
        joined = self.body.replace("\\\n", " ")
        parts = [part for line in joined.splitlines() for part in re.split(r"&&|\|", line)]
        return [words for part in parts if (words := shlex.split(part, comments=True))]


def blocks() -> list[Block]:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return [
        Block(text[: m.start("body")].count("\n") + 1, m["language"], m["mark"] or "", m["note"] or "", m["body"])
        for m in _BLOCK.finditer(text)
    ]


TERMINATED_EXIT_CODE = 128 + signal.SIGTERM

BLOCKS = blocks()
RUN = [block for block in BLOCKS if block.language in ("console", "python") and not block.mark]
NOT_RUN = [block for block in BLOCKS if block.mark == "not run"]


def name(block: Block) -> str:
    return f"line {block.line}"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the checkout's packages and the pictures that the README talks about."""
    folder = tmp_path_factory.mktemp("readme")
    for package in ("ifseg_rt", "train", "export", "benchmarks"):
        (folder / package).symlink_to(ROOT / package)
    sample = ROOT / "ifseg_rt" / "assets" / "sample.jpg"
    (folder / "pictures").mkdir()
    for target in ("street.jpg", "pictures/first.jpg", "pictures/second.jpg"):
        shutil.copy(sample, folder / target)
    picture = cv2.imread(str(sample))
    height, width = picture.shape[:2]
    video = cv2.VideoWriter(str(folder / "clip.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 10.0, (width, height))
    for shift in range(6):
        video.write(np.roll(picture, 8 * shift, axis=1))
    video.release()
    return folder


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return variables under which ``python`` and ``ifseg-rt`` are those of this interpreter, with an empty cache."""
    scripts = Path(sys.executable).parent
    programs = [str(scripts)]
    if not (scripts / "ifseg-rt").exists():  # a checkout that was not installed
        shims = tmp_path_factory.mktemp("bin")
        shim = shims / "ifseg-rt"
        shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m ifseg_rt "$@"\n')
        shim.chmod(0o755)
        programs.insert(0, str(shims))
    return {
        **os.environ,
        "PATH": os.pathsep.join([*programs, os.environ.get("PATH", "")]),
        "PYTHONPATH": str(ROOT),
        "XDG_CACHE_HOME": str(tmp_path_factory.mktemp("cache")),
    }


def run(command: list[str], place: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=place, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=900
    )


def shortened(body: str) -> str:
    """Return the block with adaptations of 2 steps."""
    body = re.sub(r"--steps \d+", "--steps 2", body)
    return re.sub(r'^(ifseg-rt .*--categories "[^"]*")', r"\1 --steps 2", body, flags=re.M)


@pytest.mark.parametrize("block", RUN, ids=name)
def test_block_runs(block: Block, place: Path, environment: dict[str, str]) -> None:
    program = ["bash", "-euo", "pipefail", "-c"] if block.language == "console" else [sys.executable, "-c"]
    answer = run([*program, shortened(block.body)], place, environment)
    assert answer.returncode == 0, f"README.md:{block.line}\n{block.body}\n{answer.stdout}\n{answer.stderr}"


@pytest.mark.parametrize("block", NOT_RUN, ids=name)
def test_block_that_is_not_run_names_real_options(block: Block, place: Path, environment: dict[str, str]) -> None:
    """Only our own commands are asked; what others offer is theirs to keep."""
    assert len(block.note) > 8, f"README.md:{block.line} needs a reason why it is not run"
    for words in block.commands():
        program, rest = our_program(words)
        if not program:
            continue
        answer = run([*program, "--help"], place, environment)
        assert answer.returncode == 0, f"README.md:{block.line}: {shlex.join(program)} --help\n{answer.stderr}"
        known = set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", answer.stdout))
        missing = [word for word in rest if re.match(r"--?[a-z]", word) and word.split("=")[0] not in known]
        assert not missing, f"README.md:{block.line}: {shlex.join(program)} has no {missing}"


def our_program(words: list[str]) -> tuple[list[str], list[str]]:
    """Return how to start one of our commands and its arguments; nothing for anyone else's."""
    if Path(words[0]).name == "ifseg-rt":
        return ["ifseg-rt"], words[1:]
    for module in ("train.", "export.", "benchmarks."):
        for position, word in enumerate(words[1:], 1):
            if words[position - 1] == "-m" and word.startswith(module):
                return [sys.executable, "-m", word], words[position + 1 :]
    return [], []


def test_blocks_that_set_up_environments_are_run_by_ci() -> None:
    """CI takes the text of these blocks from the README, so both can only be the same."""
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    marked = [block.note for block in BLOCKS if block.mark == "ci"]
    assert sorted(marked) == sorted(re.findall(r"\$\(readme_block ([\w-]+)\)", script))
    assert {"first-run", "tests"} <= set(marked)


def test_only_marked_blocks_install_anything() -> None:
    installing = [block.line for block in RUN if re.search(r"\b(pip3? install|venv|uv sync)\b", block.body)]
    assert not installing, f"README.md lines {installing}: mark the blocks with <!-- ci: NAME -->"


def test_extras_named_in_the_readme_exist() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    known = set(re.findall(r"^(\w+) = \[", project.split("[project.optional-dependencies]")[1].split("\n[")[0], re.M))
    named = {extra for group in re.findall(r'"(?:\.|ifseg-rt)\[([\w,]+)\]"', text) for extra in group.split(",")}
    assert named <= known
    assert "cpu" in named


def test_links_lead_somewhere() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?://|#)([^)#\s]+)", text)
    assert not [link for link in links if not (ROOT / link).exists()]


def test_exit_codes_in_the_readme_are_those_of_the_errors() -> None:
    from ifseg_rt import errors

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    documented = {int(code) for code in re.findall(r"^\| (\d+) \|", text, re.M)}
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.IfsegError)]
    raised = {kind.exit_code for kind in kinds}
    assert documented == {0, errors.INTERRUPTED_EXIT_CODE, TERMINATED_EXIT_CODE, *raised}
