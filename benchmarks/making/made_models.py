"""Models made for measurements, by the product's own commands: random weights for an OFA size, ``micro`` as shipped."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.making.children import measure, run_child
from benchmarks.making.product import export_arguments


class MadeModels:
    """A folder of checkpoints and exported models, each made when it is first asked for.

    Args:
        folder: where they are kept; it may hold models of an earlier run.
        time_left: asked before every step for the seconds that it may take; ``None`` sets no limit.
    """

    def __init__(self, folder: Path, time_left: Callable[[], float] | None = None) -> None:
        self.folder = folder
        self._time_left = time_left or (lambda: None)

    def checkpoint(self, model: str, classes: int) -> Path:
        """Return a checkpoint of ``micro`` or an OFA size.

        Raises:
            MeasurementError: it cannot be made.
        """
        path = self.folder / f"{model}_{classes}.pt"
        facts = path.with_suffix(".facts.json")
        if not (path.is_file() and facts.is_file()):
            self.folder.mkdir(parents=True, exist_ok=True)
            arguments = [model, "--categories", str(classes), "--out", str(path)]
            made = measure("benchmarks.making.untrained", arguments, timeout=self._time_left())
            facts.write_text(json.dumps(made) + "\n", encoding="utf-8")
        return path

    def facts(self, model: str, classes: int) -> dict[str, Any]:
        """Return ``prompt``, the number of its tokens, and ``parameters_m`` of :meth:`checkpoint`."""
        path = self.checkpoint(model, classes).with_suffix(".facts.json")
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found

    def onnx(
        self,
        model: str,
        classes: int,
        size: tuple[int, int],
        precision: str = "fp32",
        batch: int = 1,
        biases: str | None = None,
    ) -> Path:
        """Return an exported model with its sidecar.

        Raises:
            MeasurementError: it cannot be made or exported.
        """
        height, width = size
        stem = f"{model}_{classes}_{height}x{width}_{precision}" + (f"_b{batch}" if batch > 1 else "")
        stem += f"_{biases}" if biases else ""
        path = self.folder / f"{stem}.onnx"
        if not path.with_suffix(".json").is_file():
            checkpoint = self.checkpoint(model, classes)
            options = {"size": f"{height}x{width}", "precision": None if precision == "fp32" else precision}
            run_child(
                "export.to_onnx",
                export_arguments(checkpoint, path, **options, batch=batch if batch > 1 else None, biases=biases),
                timeout=self._time_left(),
            )
        return path

    def forget(self, path: Path) -> None:
        """Delete an exported model: random weights of a large one take a gigabyte and are made again at will."""
        for file in (path, path.with_suffix(".json"), path.with_name(path.name + ".data")):
            file.unlink(missing_ok=True)
