"""Runs ``python -m benchmarks.gpu``; the work is in run.py, so that nothing has to import this file."""

from __future__ import annotations

import sys

from benchmarks.gpu.run import main

if __name__ == "__main__":
    sys.exit(main())
