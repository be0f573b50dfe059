"""``python -m ifseg_rt`` is the ``ifseg-rt`` command."""

from __future__ import annotations

import sys

from ifseg_rt.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
