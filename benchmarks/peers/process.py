"""Times one peer in PyTorch, or writes it as ONNX, in a process of its own; prints one JSON object."""

from __future__ import annotations

import contextlib
import io
import json
import sys
import time
import warnings
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.command import add_timing_options, run_command
from benchmarks.peers.facts import PEERS
from ifseg_rt.cli.values import parse_size, positive
from ifseg_rt.errors import ExportError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor, nn

_OPSET = 20


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = ArgumentParser(
        prog="python -m benchmarks.peers.process", description=__doc__, formatter_class=RawDescriptionHelpFormatter
    )
    parser.add_argument("peer", choices=list(PEERS), help="which")
    parser.add_argument("--classes", type=positive, default=12, help="number of categories")
    parser.add_argument("--onnx", type=Path, help="write it here instead of timing it")
    add_timing_options(parser)
    return run_command(parser, _run, argv)


def _run(options: Namespace) -> None:
    import torch

    from benchmarks.peers.models import build_peer

    if options.threads is not None:
        torch.set_num_threads(options.threads)
    model = build_peer(options.peer, options.classes)
    side = PEERS[options.peer].side
    facts = {
        "parameters_m": round(sum(p.numel() for p in model.parameters()) / 1e6, 1),
        "gflop_total": operations(model, side),
    }
    if options.onnx:
        write_onnx(model, side, options.onnx)
        sys.stdout.write(json.dumps(facts) + "\n")
        return
    sys.stdout.write(json.dumps(facts | _time(model, side, options)) + "\n")


def _time(model: nn.Module, side: int, options: Namespace) -> dict[str, Any]:
    import torch

    from benchmarks.records.machine import machine_facts, peak_memory_mb
    from benchmarks.records.other_work import OtherWork
    from benchmarks.speed.timing import repeat, summaries, synthetic_frames

    frame = parse_size(options.frame)

    @torch.inference_mode()
    def one(picture: NDArray[np.uint8]) -> dict[str, float]:
        started = time.perf_counter()
        image = prepared_image(picture, side)
        prepared = time.perf_counter()
        scores = model(image)
        inferred = time.perf_counter()
        wide = torch.nn.functional.interpolate(scores, size=frame, mode="bilinear", align_corners=False)
        wide.argmax(dim=1)[0].to(torch.uint8).numpy()
        marks = (started, prepared, inferred, time.perf_counter())
        names = ("preprocess", "inference", "labels")
        return {name: 1e3 * (end - begin) for name, begin, end in zip(names, marks, marks[1:], strict=False)}

    with OtherWork() as others:
        stages = repeat(one, synthetic_frames(*frame), options.runs, options.warmup, options.seconds)
    return {
        "size": f"{side}x{side}",
        "frame": f"{frame[0]}x{frame[1]}",
        "threads": options.threads,
        "runs": len(stages["total"]),
        "stages_ms": summaries(stages),
        "peak_rss_mb": peak_memory_mb(),
        "other_cores": others.cores,
        "machine": machine_facts(),
    }


def prepared_image(picture: NDArray[np.uint8], side: int) -> Tensor:
    """``H x W x 3`` BGR frame -> normalised RGB ``[1, 3, side, side]``, stretched."""
    import cv2
    import numpy as np
    import torch

    resized = cv2.resize(picture, (side, side), interpolation=cv2.INTER_LINEAR)[:, :, ::-1]
    pixels = torch.from_numpy(np.ascontiguousarray(resized))
    return pixels.permute(2, 0, 1)[None].float() / 127.5 - 1


def operations(model: nn.Module, side: int) -> float:
    """Return the GFLOP of one image: products of matrices, convolutions and attention."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    # The counter knows no fused attention of the CPU; in plain operators it sees the two products.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, 3, side, side))
    return round(counter.get_total_flops() / 1e9, 2)


def write_onnx(model: nn.Module, side: int, path: Path) -> None:
    """Write a peer as ONNX with the exporter that ours are written with.

    Raises:
        ExportError: the exporter refuses it.
    """
    import torch

    silence = contextlib.redirect_stdout(io.StringIO())
    try:
        with warnings.catch_warnings(), silence:
            warnings.simplefilter("ignore")
            image = torch.zeros(1, 3, side, side)
            program: Any = torch.onnx.export(
                model, (image,), dynamo=True, opset_version=_OPSET, input_names=["image"], verbose=False
            )
            program.save(path, external_data=False)
    except Exception as error:  # whatever the exporter stumbles over
        raise ExportError(f"the peer cannot be written as ONNX: {str(error).strip().splitlines()[0]}") from error


if __name__ == "__main__":
    sys.exit(main())
