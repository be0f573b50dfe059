"""Gives the programs the models and frames of the run time's own tests."""

from __future__ import annotations

import runpy
from pathlib import Path

_OWN = runpy.run_path(str(Path(__file__).parents[3] / "ifseg_rt" / "conftest.py"))

make_artifact, model_path, scene = (_OWN[name] for name in ("make_artifact", "model_path", "scene"))
