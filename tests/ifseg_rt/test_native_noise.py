"""What native libraries print is hidden where nobody else writes, and nothing of anybody's own is ever lost."""

from __future__ import annotations

import subprocess
import sys

_ALONE = """
import os
from ifseg_rt.native_noise import native_noise_hidden
with native_noise_hidden():
    os.write(2, b"noise\\n")
os.write(2, b"speech\\n")
"""
_WITH_OTHERS = """
import sys, threading
from ifseg_rt.native_noise import native_noise_hidden
def speak(number):
    for count in range(200):
        with native_noise_hidden():
            sys.stderr.write(f"{number} {count}\\n")
threads = [threading.Thread(target=speak, args=(number,)) for number in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
sys.stderr.write("still here\\n")
"""
_OWN_PROCESS = """
import os, sys
from ifseg_rt.native_noise import own_stderr
with own_stderr():
    os.write(2, b"noise\\n")
    sys.stderr.write("speech\\n")
sys.stderr.write("after\\n")
"""


def said(program: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    return done.stderr.splitlines()


def test_noise_is_hidden_only_inside() -> None:
    assert said(_ALONE) == ["speech"]


def test_nothing_is_lost_where_threads_speak() -> None:
    lines = said(_WITH_OTHERS)
    assert len(lines) == 8 * 200 + 1
    assert lines[-1] == "still here"


def test_a_process_of_our_own_hides_it_throughout() -> None:
    assert said(_OWN_PROCESS) == ["speech", "after"]
