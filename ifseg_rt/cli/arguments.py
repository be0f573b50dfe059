"""The ``ifseg-rt`` command: its arguments, and how errors become exit codes. The work is done in ``command``."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from ifseg_rt.errors import INTERRUPTED_EXIT_CODE, IfsegError, UsageError

_DESCRIPTION = "Segments pictures, videos and cameras into the categories you name."

_EPILOG = """\
examples:
  ifseg-rt street.jpg                                         label a picture with the shipped model
  ifseg-rt clip.mp4 --categories "road, sky, tree" --output out.mp4
  ifseg-rt photos/ --output results/                          every picture and video of a folder
  ifseg-rt --camera 0                                         a webcam, in a window
  ifseg-rt clip.mp4 --model model.engine --rebuild            on the GPU, the engine made for it where it does not fit
  ifseg-rt rebuild model.onnx                                 a TensorRT engine for this machine (see its --help)

outputs:
  Each picture gives NAME_overlay.jpg and NAME_labels.png (pixel value = category index), each video
  NAME_overlay.mp4, in the folder given by --output (default: ./ifseg-rt-output) together with results.jsonl.
  Standard output gets one line of JSON per frame: source, frame, size, shares, timings_ms, outputs.
  Messages and progress go to standard error.

exit codes:
  0  done                                      5  device, driver or run-time library missing or broken
  1  a file could not be written, or a bug     6  an export or the building of an engine failed
  2  arguments that cannot be meant            7  checkpoint missing, foreign or unfit
  3  a source is missing or unreadable         8  categories empty, duplicate or unknown
  4  model or sidecar missing or unfit         130 interrupted (files are finished), 143 terminated
"""


_REBUILD = "rebuild"  # a source of this name is given as ./rebuild

_REBUILD_EPILOG = """\
standard output: one line of JSON: engine, sidecar, bytes, runtime, version, targets, precision, size, seconds.

exit codes:
  0  done                                      4  model or sidecar missing or unfit
  1  a bug                                     5  TensorRT, or a GPU that it needs, is missing
  2  arguments that cannot be meant            6  the build failed
  130 interrupted, 143 terminated (nothing is written)
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(message, hint=f"{self.prog} --help")


class _TerminatedError(KeyboardInterrupt):
    """The process was asked to end with SIGTERM."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code; never raises for anything a user can meet."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    # Known before parsing, because parsing can fail too.
    debug = "--debug" in arguments
    try:
        if arguments[:1] == [_REBUILD]:
            return _rebuild(arguments[1:])
        options = _parser().parse_args(arguments)
        with _clean_end_on_sigterm():
            from ifseg_rt.cli.run import run

            run(options)
    except SystemExit as error:  # --help and --version
        return int(error.code or 0)
    except _TerminatedError:
        return _failed("terminated", None, 128 + signal.SIGTERM)
    except KeyboardInterrupt:
        return _failed("interrupted", None, INTERRUPTED_EXIT_CODE)
    except IfsegError as error:
        if debug:
            raise
        return _failed(f"error: {error}", error.hint, error.exit_code)
    except Exception as error:
        if debug:
            raise
        return _failed(
            f"error: unexpected {type(error).__name__}: {error}", "run it again with --debug for the traceback", 1
        )
    return 0


def _rebuild(arguments: Sequence[str]) -> int:
    from ifseg_rt.cli.console import Console
    from ifseg_rt.cli.rebuild import add_arguments, run
    from ifseg_rt.cli.run import log_to

    parser = _Parser(
        prog=f"ifseg-rt {_REBUILD}",
        description="Builds an engine again on this machine from its ONNX model; PyTorch is not needed.",
        epilog=_REBUILD_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_arguments(parser)
    options = parser.parse_args(arguments)
    log_to(Console(quiet=options.quiet), debug=options.debug)
    with _clean_end_on_sigterm():
        return run(options)


def _failed(message: str, hint: str | None, code: int) -> int:
    sys.stderr.write(message + "\n")
    if hint is not None:
        sys.stderr.write(f"hint: {hint}\n")
    return code


@contextmanager
def _clean_end_on_sigterm() -> Iterator[None]:
    """Treat SIGTERM like Ctrl-C: otherwise a video being written would stay without its index."""

    def end(number: int, frame: FrameType | None) -> NoReturn:
        raise _TerminatedError

    if threading.current_thread() is not threading.main_thread():
        yield  # the caller owns the signals
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="ifseg-rt",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_ShowVersion)

    sources = parser.add_argument_group("what to label")
    sources.add_argument(
        "sources", nargs="*", metavar="SOURCE", help="picture, video, folder or quoted pattern; several are allowed"
    )
    sources.add_argument("--camera", metavar="N", help="camera number or device, e.g. 0 or /dev/video2")
    sources.add_argument("--max-frames", type=_positive, metavar="N", help="stop each video or camera after N frames")

    model = parser.add_argument_group("with which model")
    model.add_argument(
        "--model", metavar="PATH", help="exported model (.onnx with its .json) or engine; default: the shipped one"
    )
    model.add_argument(
        "--rebuild", action="store_true", help="build an engine that is missing or does not fit this machine again"
    )
    model.add_argument("--categories", metavar="WORDS", help='make a model for these categories: "sky, road, car"')
    model.add_argument(
        "--categories-file", metavar="PATH", help="the same from a file, one per line: name, synonym, synonym #rrggbb"
    )
    model.add_argument("--size", type=_size, metavar="HxW", help="network input with --categories (default: 384x512)")
    model.add_argument("--steps", type=_positive, metavar="N", help="adaptation steps with --categories (default: 20)")

    how = parser.add_argument_group("how")
    refine = how.add_mutually_exclusive_group()
    refine.add_argument("--no-refine", action="store_true", help="label from the raw logits, without kNN averaging")
    refine.add_argument("--refine", type=_refinement, metavar="K,T", help="average over K neighbours, T rounds")
    how.add_argument(
        "--device",
        type=_device,
        default="auto",
        metavar="D",
        help="auto (default), cpu, cuda or tensorrt; another GPU than the first: cuda:1, tensorrt:1",
    )
    how.add_argument("--threads", type=_positive, metavar="N", help="CPU threads of the model")
    how.add_argument("--no-cuda-graph", action="store_true", help="on a GPU, launch every piece of every frame")
    how.add_argument("--time-stages", action="store_true", help="on a GPU, time every stage (the CPU always does)")

    outputs = parser.add_argument_group("what to do with the result")
    outputs.add_argument(
        "-o", "--output", metavar="PATH", help="folder, .mp4 for one video, or picture for one picture"
    )
    outputs.add_argument("--alpha", type=_opacity, default=0.5, metavar="A", help="opacity of the colours, 0..1 (0.5)")
    outputs.add_argument("--no-window", action="store_true", help="never open a window")
    outputs.add_argument("-q", "--quiet", action="store_true", help="only warnings and errors on standard error")
    outputs.add_argument("--debug", action="store_true", help="show tracebacks and the libraries' own messages")
    return parser


class _ShowVersion(argparse.Action):
    def __init__(self, option_strings: Sequence[str], dest: str) -> None:
        super().__init__(option_strings, dest, nargs=0, help="show the version and exit")

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from ifseg_rt import __version__  # reading the installed version takes a while; only when asked

        sys.stdout.write(f"{parser.prog} {__version__}\n")
        parser.exit()


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, found {text!r}")
    return int(text)


def _device(text: str) -> str:
    from ifseg_rt.options import DeviceChoice

    try:
        return str(DeviceChoice.parse(text))
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _opacity(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.0 <= value <= 1.0:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 1, found {text!r}")
    return value


def _pair(text: str, separator: str, expected: str) -> tuple[int, int]:
    first, found, second = text.partition(separator)
    if not (found and first.strip().isdecimal() and second.strip().isdecimal()):
        raise argparse.ArgumentTypeError(f"expected {expected}, found {text!r}")
    return int(first), int(second)


def _refinement(text: str) -> tuple[int, int]:
    return _pair(text, ",", "neighbours and rounds like 3,25")


def _size(text: str) -> tuple[int, int]:
    height, width = _pair(f"{text}x{text}" if text.isdecimal() else text.lower(), "x", "height x width like 384x512")
    if min(height, width) < 16:
        raise argparse.ArgumentTypeError(f"expected at least 16 x 16, found {text!r}")
    return height, width
