"""What the ``ifseg-rt`` command does with its arguments."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING

from ifseg_rt.cli.console import Console, log_to
from ifseg_rt.cli.signals import stopping_with
from ifseg_rt.errors import UsageError
from ifseg_rt.native_noise import own_stderr, quiet_environment

if TYPE_CHECKING:
    from ifseg_rt.sinks.jsonl import JsonLines
    from ifseg_rt.sinks.window import Window
    from ifseg_rt.sources.base import Source
    from ifseg_rt.sources.settings import SourceSettings
    from ifseg_rt.stream.policy import StreamPolicy

_NAMED = 10  # files left out that are named; a folder of ten thousand others must not fill the screen


def run(options: argparse.Namespace) -> None:
    """Carry out one command.

    Raises:
        IfsegError: whatever can go wrong; the class carries the exit code.
        KeyboardInterrupt: the user pressed Ctrl-C; every file written so far is finished.
    """
    _check_together(options)
    with ExitStack() as stack:
        if not options.debug:
            quiet_environment()
            stack.enter_context(own_stderr())
        console = Console(quiet=options.quiet)
        log_to(console, debug=options.debug)
        _run(options, console, stack)


def _run(options: argparse.Namespace, console: Console, stack: ExitStack) -> None:
    # Only now: OpenCV reads its environment when it is imported.
    from ifseg_rt.segmenter import Segmenter
    from ifseg_rt.sinks.jsonl import JsonLines
    from ifseg_rt.sinks.outputs import Outputs
    from ifseg_rt.stream.pipeline import Pipeline

    settings = _source_settings(options)
    sources = _sources(options, settings, console)
    outputs = stack.enter_context(
        closing(Outputs(options.output, sources, save=options.save, audio=options.audio, note=console.note))
    )
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
            overlay=options.alpha if outputs.draws or no_window is None else None,
            allow_host_code=options.allow_host_code,
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
    # Looked up for every line: a progress bar on the same terminal replaces sys.stdout to stay below the lines.
    lines = JsonLines(lambda: sys.stdout)
    pipeline = Pipeline(
        segmenter,
        outputs,
        lines.write,
        window,
        console,
        alpha=options.alpha,
        policy=_policy(options),
        settings=settings,
    )
    try:
        with stopping_with(pipeline.stop):
            pipeline.run(sources)
    finally:
        if lines.failed is not None:
            # Python would complain when it flushes at the end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    _check_lines(lines, saved=outputs.saves)
    if window is not None and sources[-1].is_still and sys.stdin.isatty():
        console.note("press any key in the window to close it")
        window.hold()


def _sources(options: argparse.Namespace, settings: SourceSettings, console: Console) -> list[Source]:
    """The sources named, checked as far as that can be done before minutes of adaptation."""
    from ifseg_rt.sources.find import find_sources

    found = find_sources(options.sources if options.camera is None else [options.camera], settings)
    for path, reason in found.left_out[:_NAMED]:
        console.note(f"left out: {path}: {reason}")
    if len(found.left_out) > _NAMED:
        console.note(f"left out: {len(found.left_out) - _NAMED} more files")
    sources = list(found.found)
    if len(sources) == 1 and not (sources[0].is_live and options.wait):
        sources[0].open()
        if sources[0].is_live and (options.categories or options.categories_file):
            sources[0].close()  # what it buffers meanwhile would be old
    return sources


def _source_settings(options: argparse.Namespace) -> SourceSettings:
    from ifseg_rt.sources.settings import MAX_PIXELS, SourceSettings

    return SourceSettings(
        corrupt=options.corrupt,
        max_pixels=options.max_pixels or MAX_PIXELS,
        open_timeout=options.open_timeout,
        read_timeout=options.read_timeout,
        camera_size=options.camera_size,
        camera_fps=options.camera_fps,
        camera_format=options.camera_format,
    )


def _policy(options: argparse.Namespace) -> StreamPolicy:
    from ifseg_rt.stream.policy import StreamPolicy

    return StreamPolicy(
        max_staleness=None if options.max_staleness is None else options.max_staleness / 1e3,
        max_retries=options.max_retries,
        reconnect_timeout=options.reconnect_timeout,
        wait=options.wait,
        max_frames=options.max_frames,
    )


def _check_together(options: argparse.Namespace) -> None:
    if options.camera is not None and options.sources:
        raise UsageError("name either sources or --camera, not both")
    if options.camera is None and not options.sources:
        raise UsageError("nothing to label: name a picture, a video or a folder, or --camera 0", hint="ifseg-rt --help")
    if options.camera_format is not None and len(options.camera_format) != 4:
        raise UsageError(f"--camera-format: expected four letters such as MJPG, found {options.camera_format!r}")
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


def _check_lines(lines: JsonLines, *, saved: bool) -> None:
    """A reader that has seen enough (head, say) is no error where files were written; anything else is.

    Raises:
        SinkError: not all lines could be written.
    """
    from ifseg_rt.sinks.base import SinkError

    if lines.failed is None or (saved and isinstance(lines.failed, BrokenPipeError)):
        return
    raise SinkError(f"standard output took {lines.written} lines and no more: {lines.failed.strerror}")


def _named(device: str, gpu: int | None) -> str:
    names = {"cpu": "the CPU", "cuda": "the GPU (CUDA)", "tensorrt": "TensorRT", "tensorrt_rtx": "TensorRT-RTX"}
    return names.get(device, device) + (f", GPU {gpu}" if gpu else "")
