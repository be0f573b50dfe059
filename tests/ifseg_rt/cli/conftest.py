"""Sources for the command, and ways to run it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import ifseg_rt
from ifseg_rt.cli.main import main

ROOT = Path(ifseg_rt.__file__).parents[1]


@pytest.fixture(autouse=True)
def _no_display(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def pictures(tmp_path: Path, scene: np.ndarray) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    cv2.imwrite(str(folder / "one.png"), scene)
    cv2.imwrite(str(folder / "two.png"), scene[:, ::-1])
    return folder


@pytest.fixture
def clip(tmp_path: Path, scene: np.ndarray) -> Path:
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 12.0, (180, 120))
    for shift in range(10):
        writer.write(np.roll(scene, shift * 5, axis=1))
    writer.release()
    return path


@pytest.fixture
def run(model_path: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Run the command in this process; gives code, JSON lines and standard error."""

    def call(*arguments: str | Path, model: Path | None = model_path) -> tuple[int, list[dict[str, Any]], str]:
        chosen = [] if model is None else ["--model", str(model), "--threads", "1"]
        code = main([*map(str, arguments), *chosen])
        out, err = capfd.readouterr()
        return code, [json.loads(line) for line in out.splitlines()], err

    return call


@pytest.fixture
def run_process() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the command in a process of its own."""

    def call(*arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "ifseg_rt", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, env=environment, check=False, **options)

    return call
