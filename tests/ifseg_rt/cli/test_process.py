"""The command as a process: how fast it starts, signals, and readers that leave."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import ifseg_rt

ROOT = Path(ifseg_rt.__file__).parents[1]


def test_help_and_version_are_fast_and_light(run_process: Any) -> None:
    best = 9.0
    for _ in range(3):
        started = time.perf_counter()
        done = run_process("--help")
        best = min(best, time.perf_counter() - started)
    assert done.returncode == 0
    assert "exit codes:" in done.stdout
    assert best < 0.3
    version = run_process("--version")
    assert (version.returncode, version.stdout.split()) == (0, ["ifseg-rt", ifseg_rt.__version__])
    probe = (
        "import sys; from ifseg_rt.cli.main import main; main(['--help']); "
        "print('numpy' in sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stderr.strip() == "False"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_interrupted_runs_finish_their_video(
    tmp_path: Path, model_path: Path, scene: np.ndarray, number: signal.Signals, code: int
) -> None:
    long = tmp_path / "long.avi"
    writer = cv2.VideoWriter(str(long), cv2.VideoWriter.fourcc(*"MJPG"), 25.0, (180, 120))
    for _ in range(3000):
        writer.write(scene)
    writer.release()
    command = [sys.executable, "-m", "ifseg_rt", str(long), "--model", str(model_path), "-o", "out.mp4"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}

    # A test run started in the background of a script ignores SIGINT, and its children inherit that.
    def default_interrupt() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)

    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=tmp_path,
        preexec_fn=default_interrupt,
    ) as child:
        assert child.stdout is not None
        for _ in range(5):
            assert child.stdout.readline()
        child.send_signal(number)
        err = child.communicate(timeout=30)[1]
    assert child.returncode == code, err
    assert "Traceback" not in err
    made = cv2.VideoCapture(str(tmp_path / "out.mp4"))
    assert made.isOpened()
    assert 5 <= made.get(cv2.CAP_PROP_FRAME_COUNT) < 3000


def test_a_reader_that_leaves_early_is_no_error(tmp_path: Path, model_path: Path, clip: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    line = f"{sys.executable} -m ifseg_rt {clip} --model {model_path} -o out.mp4 | head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, env=environment, check=False)
    assert done.stdout.splitlines()[-1] == "0"
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr
