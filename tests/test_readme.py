"""Every command and snippet of the README and of ``docs`` is run, or, where a test cannot, its options are checked.

Marks on the pages, each an HTML comment on the line before the fence:

- ``<!-- ci: NAME -->``: the block sets up an environment; ``.ci/run`` takes its text from the README and runs it.
- ``<!-- not run: REASON -->``: it needs what a test has not got; programs and options must exist all the same.

All other ``console`` and ``python`` blocks are run, page after page and from top to bottom, in one folder that looks
like a checkout, so that all pages share the models made on the way. They are run word for word but for numbers that
change only the minutes and the quality: adaptations take one step of one picture, and models are for 96 x 128 pixels.
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
# In the order in which a reader meets them: the GPU page uses what the page about words has made.
PAGES = (
    "README.md",
    "docs/words-and-checkpoints.md",
    "docs/gpu.md",
    "docs/command-line.md",
    "docs/robot.md",
    "docs/versions.md",
    "docs/results.md",
    "docs/architecture.md",
    "docs/method.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "CHANGELOG.md",
)
_BLOCK = re.compile(
    r"(?:^<!-- (?P<mark>ci|not run): (?P<note>.+?) -->\n)?^```(?P<language>\w*)\n(?P<body>.*?)^```$", re.M | re.S
)


@dataclass(frozen=True)
class Block:
    """One fenced block; ``line`` is where its body starts."""

    page: str
    line: int
    language: str
    mark: str
    note: str
    body: str

    @property
    def place(self) -> str:
        """Return page and line."""
        return f"{self.page}:{self.line}"

    def commands(self) -> list[list[str]]:
        """Split into words per command; continued lines are joined, comments and environment settings dropped."""
        joined = self.body.replace("\\\n", " ")
        parts = [part for line in joined.splitlines() for part in re.split(r"&&|\|", line)]
        return [words for part in parts if (words := shlex.split(part, comments=True))]


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str) -> list[Block]:
    text = text_of(page)
    return [
        Block(page, text[: m.start("body")].count("\n") + 1, m["language"], m["mark"] or "", m["note"] or "", m["body"])
        for m in _BLOCK.finditer(text)
    ]


SIGNAL_EXIT_CODES = {128 + signal.SIGTERM, 128 + signal.SIGHUP}

BLOCKS = [block for page in PAGES for block in blocks(page)]
RUN = [block for block in BLOCKS if block.language in ("console", "python") and not block.mark]
NOT_RUN = [block for block in BLOCKS if block.mark == "not run"]


def name(block: Block) -> str:
    return block.place


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the checkout's packages and the pictures that the pages talk about."""
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
    """Return the block with short adaptations of small models."""
    for option, value in (("steps", "1"), ("batch-size", "1"), ("size", "96x128")):
        body = re.sub(rf"--{option} [\dx]+", f"--{option} {value}", body)
    return re.sub(r'^(ifseg-rt .*--categories "[^"]*")', r"\1 --steps 1 --size 96x128", body, flags=re.M)


@pytest.mark.parametrize("block", RUN, ids=name)
def test_block_runs(block: Block, place: Path, environment: dict[str, str]) -> None:
    program = ["bash", "-euo", "pipefail", "-c"] if block.language == "console" else [sys.executable, "-c"]
    answer = run([*program, shortened(block.body)], place, environment)
    assert answer.returncode == 0, f"{block.place}\n{block.body}\n{answer.stdout}\n{answer.stderr}"


@pytest.mark.parametrize("block", NOT_RUN, ids=name)
def test_block_that_is_not_run_names_real_options(block: Block, place: Path, environment: dict[str, str]) -> None:
    """Only our own commands are asked; what others offer is theirs to keep."""
    assert len(block.note) > 8, f"{block.place} needs a reason why it is not run"
    for words in block.commands():
        program, rest = our_program(words)
        if not program:
            continue
        answer = run([*program, "--help"], place, environment)
        assert answer.returncode == 0, f"{block.place}: {shlex.join(program)} --help\n{answer.stderr}"
        known = set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", answer.stdout))
        missing = [word for word in rest if re.match(r"--?[a-z]", word) and word.split("=")[0] not in known]
        assert not missing, f"{block.place}: {shlex.join(program)} has no {missing}"


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
    marked = [block.note for block in BLOCKS if block.mark == "ci" and block.page == "README.md"]
    assert sorted(marked) == sorted(re.findall(r"\$\(readme_block ([\w-]+)\)", script))
    assert {"first-run", "tests"} <= set(marked)


def test_only_marked_blocks_install_anything() -> None:
    installing = [block.place for block in RUN if re.search(r"\b(pip3? install|venv|uv sync)\b", block.body)]
    assert not installing, f"{installing}: mark the blocks with <!-- ci: NAME -->"


def test_extras_and_groups_named_on_the_pages_exist() -> None:
    text = "".join(map(text_of, PAGES))
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")

    def names(table: str) -> set[str]:
        return set(re.findall(r"^(\w+) = \[", project.split(f"[{table}]")[1].split("\n[")[0], re.M))

    named = {extra for group in re.findall(r"(?:\.|ifseg-rt)\[([\w,]+)\]", text) for extra in group.split(",")}
    assert named <= names("project.optional-dependencies")
    assert "cpu" in named
    groups = set(re.findall(r"--group (\w+)", text))
    assert groups <= names("dependency-groups")
    assert "dev" in groups


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    links = re.findall(r"\]\((?!https?://|#)([^)#\s]+)", text_of(page))
    assert not [link for link in links if not ((ROOT / page).parent / link).exists()]


def test_every_page_is_tested() -> None:
    assert {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")} <= set(PAGES)


def test_readme_is_one_page_and_its_figures_are_measured() -> None:
    """Its figures stand in the generated tables of the results, too."""
    text = text_of("README.md")
    assert text.count("\n") < 120
    rows = dict(re.findall(r"^\| (how \w+) \| (.+) \|$", text, re.M))
    refined, plain = re.findall(r"\d+\.\d+", rows["how good"])
    (milliseconds,) = re.findall(r"([\d.]+) ms", rows["how fast"])
    (megabytes,) = re.findall(r"(\d+) MB", rows["how large"])
    results = text_of("docs/results.md")
    assert re.search(rf"^\| camvid_val \(101\) \| adapted \| on \| {refined} \|", results, re.M)
    assert re.search(rf"^\| camvid_val \(101\) \| adapted \| off \| {plain} \|", results, re.M)
    assert re.search(rf"^\| micro \| ifseg-rt \| fp32 \| 12 \| 512x512 \|.*\| {milliseconds} \|", results, re.M)
    assert re.search(rf"^\| micro \| fp32 \| 12 \| 512x512 \| {megabytes} \|", results, re.M)


def test_every_option_of_the_command_is_documented(place: Path, environment: dict[str, str]) -> None:
    answer = run(["ifseg-rt", "--help"], place, environment)
    options = set(re.findall(r"^  (?:-\w(?: \w+)?, )?(--[a-z][\w-]*)", answer.stdout, re.M)) - {"--help", "--version"}
    text = text_of("docs/command-line.md")
    assert len(options) > 10
    assert not [option for option in options if f"{option}" not in text]


def test_documented_exit_codes_are_those_of_the_errors() -> None:
    from ifseg_rt import errors

    text = text_of("docs/command-line.md")
    documented = {int(code) for code in re.findall(r"^\| (\d+) \|", text, re.M)}
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.IfsegError)]
    raised = {kind.exit_code for kind in kinds}
    assert documented == {0, errors.INTERRUPTED_EXIT_CODE, *SIGNAL_EXIT_CODES, *raised}
