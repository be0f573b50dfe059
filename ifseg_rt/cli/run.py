"""What the ``ifseg-rt`` command does with its arguments."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ifseg_rt.cli.console import Console, log_to
from ifseg_rt.errors import UsageError
from ifseg_rt.native_noise import quiet_environment

if TYPE_CHECKING:
    from ifseg_rt.sinks.window import Window


def run(options: argparse.Namespace) -> None:
    """Carry out one command.

    Raises:
        IfsegError: whatever can go wrong; the class carries the exit code.
        KeyboardInterrupt: the user pressed Ctrl-C; every file written so far is finished.
    """
    console = Console(quiet=options.quiet)
    log_to(console, debug=options.debug)
    _check_together(options)
    if not options.debug:
        quiet_environment()
    # Only now: OpenCV reads its environment when it is imported.
    from ifseg_rt.segmenter import Segmenter
    from ifseg_rt.sinks.outputs import Outputs
    from ifseg_rt.sources.base import Source
    from ifseg_rt.sources.camera import CameraSource
    from ifseg_rt.sources.find import find_sources
    from ifseg_rt.stream.pipeline import Pipeline

    with ExitStack() as stack:
        sources: list[Source]
        if options.camera is not None:
            device = int(options.camera) if options.camera.isdecimal() else options.camera
            sources = [CameraSource(device)]
        else:
            found = find_sources(options.sources)
            sources = list(found.found)
            if found.ignored:
                files = "1 file" if found.ignored == 1 else f"{found.ignored} files"
                console.note(f"skipped {files}: not pictures or videos")
        if len(sources) == 1:
            # Before minutes of adaptation: a camera that is not there should be known at once.
            stack.enter_context(closing(sources[0]))
            sources[0].open()
        outputs = Outputs(options.output, sources)
        model = _model(options, console)
        if options.rebuild:
            _refit(model, options, console)
        no_window = _why_no_window(options)
        segmenter = stack.enter_context(
            Segmenter(
                model,
                refine=_refine(options),
                device=options.device,
                threads=options.threads,
                cuda_graph=not options.no_cuda_graph,
                time_stages=options.time_stages,
                # On a GPU it comes with the labels; where nobody looks at pictures it is not painted.
                overlay=options.alpha if outputs.saves or no_window is None else None,
            )
        )
        console.note(
            f"{model.name} ({len(segmenter.categories)} categories) runs on {_named(segmenter.device, segmenter.gpu)}"
        )
        window = _window(console, no_window, saves=outputs.saves)
        if window is not None:
            stack.enter_context(closing(window))
        if outputs.folder is not None:
            console.note(f"writing to {outputs.folder}{os.sep}")
        pipeline = Pipeline(
            segmenter,
            outputs,
            _line_writer(),
            window,
            console,
            alpha=options.alpha,
            max_frames=options.max_frames,
        )
        try:
            pipeline.run(sources)
        except BrokenPipeError:
            # The reader of our lines (head, say) has seen enough. Python would complain when flushing at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return
        if window is not None and sources[-1].is_still and sys.stdin.isatty():
            console.note("press any key in the window to close it")
            window.hold()


def _check_together(options: argparse.Namespace) -> None:
    if options.camera is not None and options.sources:
        raise UsageError("name either sources or --camera, not both")
    if options.camera is None and not options.sources:
        raise UsageError("nothing to label: name a picture, a video or a folder, or --camera 0", hint="ifseg-rt --help")
    asked = [
        name
        for name, value in (
            ("--model", options.model),
            ("--categories", options.categories),
            ("--categories-file", options.categories_file),
        )
        if value is not None
    ]
    if len(asked) > 1:
        raise UsageError(f"{' and '.join(asked)} cannot be combined")
    if options.rebuild and options.model is None:
        raise UsageError("--rebuild needs --model model.engine")
    wants_words = options.categories is not None or options.categories_file is not None
    for name, value in (("--size", options.size), ("--steps", options.steps)):
        if value is not None and not wants_words:
            raise UsageError(f"{name} needs --categories: an exported model has its own")


def _model(options: argparse.Namespace, console: Console) -> Path:
    from ifseg_rt.artifact.shipped import default_model_path

    if options.model is not None:
        return Path(options.model)
    if options.categories is None and options.categories_file is None:
        return default_model_path()
    from ifseg_rt.categories import parse_categories, read_categories
    from ifseg_rt.cli.make_model import model_for_categories

    if options.categories is not None:
        categories = parse_categories(options.categories)
    else:
        categories = read_categories(Path(options.categories_file))
    return model_for_categories(categories, console, size=options.size, steps=options.steps)


def _refit(engine: Path, options: argparse.Namespace, console: Console) -> None:
    from ifseg_rt.cli.build_progress import make_progress
    from ifseg_rt.machine import require_gpu
    from ifseg_rt.model_file import refit_engine
    from ifseg_rt.options import DeviceChoice

    choice = DeviceChoice.parse(options.device)
    require_gpu(choice.kind, choice.index)
    progress = make_progress(quiet=options.quiet, say=console.note)
    with progress:
        refit_engine(engine, gpu=choice.gpu, progress=progress, on_note=console.note)


def _refine(options: argparse.Namespace) -> bool | tuple[int, int]:
    if options.refine is not None:
        k, rounds = options.refine
        return k, rounds
    return not options.no_refine


def _why_no_window(options: argparse.Namespace) -> str | None:
    """Why there will be no window, ``""`` where none is wanted, ``None`` where there will be one."""
    from ifseg_rt.sinks.window import why_no_window

    return "" if options.no_window else why_no_window()


def _window(console: Console, why_not: str | None, *, saves: bool) -> Window | None:
    from ifseg_rt.sinks.window import Window

    if why_not is None:
        return Window("ifseg-rt")
    if why_not:
        console.note(f"no window: {why_not}" + ("" if saves else "; nothing is saved either (see --output)"))
    return None


def _line_writer() -> Callable[[Mapping[str, Any]], None]:
    from ifseg_rt.sinks.jsonl import JsonLines

    # sys.stdout is looked up for every line: a progress bar on the same terminal replaces it to stay below the lines.
    return lambda fields: JsonLines(sys.stdout).write(fields)


def _named(device: str, gpu: int | None) -> str:
    names = {"cpu": "the CPU", "cuda": "the GPU (CUDA)", "tensorrt": "TensorRT", "tensorrt_rtx": "TensorRT-RTX"}
    return names.get(device, device) + (f", GPU {gpu}" if gpu else "")
