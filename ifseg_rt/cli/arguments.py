"""The options of the ``ifseg-rt`` command."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

from ifseg_rt.cli.values import (
    natural,
    option,
    parse_above_zero,
    parse_kinds,
    parse_opacity,
    parse_pixels,
    parse_refinement,
    parse_size,
    positive,
)
from ifseg_rt.options import KINDS, DeviceChoice

_DESCRIPTION = "Segments pictures, videos, cameras and streams into the categories you name."

_EPILOG = """\
examples:
  ifseg-rt street.jpg                                         label a picture with the shipped model
  ifseg-rt clip.mp4 --categories "road, sky, tree" --output out.mp4
  ifseg-rt photos/ --output results/                          every picture and video of a folder
  ifseg-rt --camera 0                                         a webcam, in a window
  ifseg-rt rtsp://robot.local/front --max-staleness 200       a network camera, reconnected whenever it is lost
  ifseg-rt test:640x480@30 --max-frames 100                   a moving test pattern: no camera needed
  ifseg-rt clip.mp4 --model model.engine --rebuild            on the GPU, the engine made for it where it does not fit
  ifseg-rt rebuild model.onnx                                 a TensorRT engine for this machine (see its --help)

sources:
  a picture, a video, a folder (not searched deeper) or a quoted pattern; 0 or /dev/video0; rtsp:// rtsps:// http://
  https:// udp:// srt:// addresses; - for standard input (a picture, JPEGs one after the other, or a video);
  screen: (the display); test:WIDTHxHEIGHT@FPS; gst:PIPELINE where GStreamer's PyGObject is installed.
  A file of such a name comes first.

outputs:
  Each picture gives NAME_overlay.jpg and NAME_labels.png (palette picture: its indices are the categories), each video
  NAME_overlay.mp4 (H.264, the source's own times), in the folder given by --output (default: ./ifseg-rt-output)
  together with results.jsonl. Names that are taken get a number; nothing is replaced but what --output itself names.
  Standard output gets one line of JSON per frame: source, frame, time, size, shares, timings_ms, latency_ms, outputs;
  and one per event: a source that was lost or came back, a damaged frame, an output that failed.
  Messages and progress go to standard error.

exit codes:
  0  done                                      5  device, driver or run-time library missing or broken
  1  a file could not be written, or a bug     6  an export or the building of an engine failed
  2  invalid arguments                         7  checkpoint missing, foreign or unfit
  3  a source is missing or unreadable         8  categories empty, duplicate or unknown
  4  model or sidecar missing or unfit         130 interrupted, 143 terminated, 129 hung up (files are finished)
"""


REBUILD = "rebuild"  # a source of this name is given as ./rebuild

_REBUILD_EPILOG = """\
standard output: one line of JSON: engine, sidecar, bytes, runtime, version, targets, precision, size, seconds.

exit codes:
  0  done                                      4  model or sidecar missing or unfit
  1  the engine cannot be written, or a bug    5  TensorRT, or a GPU that it needs, is missing
  2  invalid arguments                         6  the build failed
  130 interrupted, 143 terminated (nothing is written)
"""


def make_rebuild_parser() -> argparse.ArgumentParser:
    """The parser of ``ifseg-rt rebuild``, still without its options."""
    return argparse.ArgumentParser(
        prog=f"ifseg-rt {REBUILD}",
        description="Builds an engine again on this machine from its ONNX model; PyTorch is not needed.",
        epilog=_REBUILD_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def make_parser() -> argparse.ArgumentParser:
    """The parser of ``ifseg-rt``."""
    parser = argparse.ArgumentParser(
        prog="ifseg-rt",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_ShowVersion)

    _add_sources(parser)

    model = parser.add_argument_group("with which model")
    model.add_argument(
        "--model", metavar="PATH", help="exported model (.onnx with its .json) or engine; default: the shipped one"
    )
    model.add_argument(
        "--rebuild", action="store_true", help="build an engine that is missing or does not fit this machine again"
    )
    model.add_argument(
        "--allow-host-code",
        action="store_true",
        help="run the CPU code of a version-compatible engine: only if trusted",
    )
    model.add_argument("--categories", metavar="WORDS", help='make a model for these: "sky, car, road #804080"')
    model.add_argument(
        "--categories-file", metavar="PATH", help="from a file: lines (name, synonym #rrggbb), JSON, YAML or CSV"
    )
    model.add_argument(
        "--size", type=option(parse_size), metavar="HxW", help="network input with --categories (default: 384x512)"
    )
    model.add_argument("--steps", type=positive, metavar="N", help="adaptation steps with --categories (default: 20)")

    how = parser.add_argument_group("how")
    refine = how.add_mutually_exclusive_group()
    refine.add_argument("--no-refine", action="store_true", help="label from the raw logits, without kNN averaging")
    refine.add_argument(
        "--refine", type=option(parse_refinement), metavar="K,T", help="average over K neighbours, T rounds"
    )
    how.add_argument(
        "--device",
        type=option(_device),
        default="auto",
        metavar="D",
        help="auto (default), cpu, cuda or tensorrt; another GPU than the first: cuda:1, tensorrt:1",
    )
    how.add_argument("--threads", type=positive, metavar="N", help="CPU threads of the model")
    how.add_argument("--no-cuda-graph", action="store_true", help="on a GPU, launch every piece of every frame")
    how.add_argument("--time-stages", action="store_true", help="on a GPU, time every stage (the CPU always does)")

    _add_outputs(parser)
    return parser


def _add_sources(parser: argparse.ArgumentParser) -> None:
    sources = parser.add_argument_group("what to label")
    sources.add_argument("sources", nargs="*", metavar="SOURCE", help="see below; several are allowed")
    sources.add_argument("--camera", metavar="N", help="camera number or device, e.g. 0 or /dev/video2")
    sources.add_argument("--max-frames", type=positive, metavar="N", help="end every video or stream after N frames")
    sources.add_argument(
        "--corrupt",
        choices=("skip", "keep"),
        help="damaged frames: leave them out (default for live sources) or label them, marked (default for files)",
    )
    sources.add_argument(
        "--max-pixels", type=positive, metavar="N", help="refuse pictures of more pixels (default: 100 million)"
    )
    sources.add_argument("--camera-size", type=option(parse_pixels), metavar="WxH", help="ask cameras for this size")
    sources.add_argument("--camera-fps", type=option(parse_above_zero), metavar="N", help="ask cameras for this rate")
    sources.add_argument("--camera-format", metavar="FOUR", help="ask cameras for this pixel format, e.g. MJPG")

    live = parser.add_argument_group("live sources (cameras, addresses, screen:, test:)")
    live.add_argument(
        "--max-staleness", type=option(parse_above_zero), metavar="MS", help="drop frames older than so many ms"
    )
    live.add_argument(
        "--max-retries", type=natural, metavar="N", help="attempts to reconnect after a loss (default: without end)"
    )
    live.add_argument(
        "--reconnect-timeout", type=option(parse_above_zero), metavar="S", help="give up so many seconds after a loss"
    )
    live.add_argument("--wait", action="store_true", help="wait for a source that is not there yet")
    live.add_argument(
        "--open-timeout", type=option(parse_above_zero), metavar="S", default=5.0, help="for a connection (5 s)"
    )
    live.add_argument(
        "--read-timeout", type=option(parse_above_zero), metavar="S", default=2.0, help="silence that is a loss (2 s)"
    )


def _add_outputs(parser: argparse.ArgumentParser) -> None:
    outputs = parser.add_argument_group("what to do with the result")
    outputs.add_argument(
        "-o", "--output", metavar="PATH", help="folder, .mp4 for one video, or picture for one picture"
    )
    outputs.add_argument(
        "--save",
        type=option(parse_kinds),
        metavar="KINDS",
        help=f"what to write, with commas: {', '.join(KINDS)} (default: overlay, and labels of pictures)",
    )
    outputs.add_argument("--audio", action="store_true", help="copy the sound of video files into their overlays")
    outputs.add_argument(
        "--alpha", type=option(parse_opacity), default=0.5, metavar="A", help="opacity of the colours, 0..1 (0.5)"
    )
    outputs.add_argument("--no-window", action="store_true", help="never open a window")
    outputs.add_argument("-q", "--quiet", action="store_true", help="only warnings and errors on standard error")
    outputs.add_argument("--debug", action="store_true", help="show tracebacks and the libraries' own messages")


class _ShowVersion(argparse.Action):
    def __init__(self, option_strings: Sequence[str], dest: str) -> None:
        super().__init__(option_strings, dest, nargs=0, help="show the version and exit")

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from ifseg_rt import __version__  # reading the installed version takes a while; only when asked

        sys.stdout.write(f"{parser.prog} {__version__}\n")
        parser.exit()


def _device(text: str) -> str:
    return str(DeviceChoice.parse(text))
