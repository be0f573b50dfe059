"""``python -m train.adapt``: from a base model and a list of words to an adapted checkpoint, without any image."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ifseg_rt.cli.exit_codes import parse, run_command
from ifseg_rt.cli.values import parse_size
from ifseg_rt.errors import DeviceError, IfsegError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import torch

    from train.adaptation.loop import Adaptation, Progress
    from train.loaded_model import LoadedModel
    from train.models.ofa.model import IFSegModel

_EPILOG = """exit codes: 0 done, 1 a file could not be written, or a bug, 2 invalid arguments, 5 device or its memory,
7 checkpoint, 8 categories, 130 interrupted, 143 terminated, 129 hung up (after these go on with --resume).
Several GPUs: torchrun --nproc-per-node N -m train.adapt ..."""


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m train.adapt",
        description="Adapt a pre-trained model to a category list with artificial images made of words.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--base", default="micro", help="micro, a checkpoint, a Hugging Face OFA folder or hub id")
    names = parser.add_mutually_exclusive_group()
    names.add_argument("--categories", help='"sky, traffic light, road #804080", or a JSON list')
    names.add_argument("--categories-file", type=Path, help="lines (name, synonym #rrggbb), JSON, YAML or CSV")
    parser.add_argument("--out", type=Path, required=True, help="checkpoint to write")
    parser.add_argument("--steps", type=int, default=2000, help="updates (default 2000; 0 only sets the vocabulary)")
    parser.add_argument("--batch-size", type=int, default=16, help="artificial images per update (default 16)")
    parser.add_argument("--lr", type=float, default=5e-5, help="peak learning rate (default 5e-5)")
    parser.add_argument("--seed", type=int, default=0, help="same seed, same result (default 0)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 (default auto)")
    parser.add_argument("--image-size", default="512", help="export size to record: 512 or HxW (default 512)")
    parser.add_argument("--tokenizer", type=Path, help="folder with BPE files, where the base has none beside it")
    parser.add_argument("--resume", action="store_true", help="go on from OUT.resume if it is there")
    parser.add_argument("--save-every", type=int, default=100, help="updates between resume files (default 100)")
    parser.add_argument("--quiet", action="store_true", help="no progress")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def choose_device(name: str) -> torch.device:
    """The torch device of a name; ``auto`` takes a GPU where there is one.

    Raises:
        DeviceError: no such device here.
    """
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise DeviceError(f"unknown device {name!r}", hint="use auto, cpu, cuda or cuda:N") from error
    if device.type not in ("cpu", "cuda"):
        raise DeviceError(f"no adaptation on device {name!r}", hint="use auto, cpu, cuda or cuda:N")
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise DeviceError("no CUDA device is usable here", hint="use --device cpu")
        index = device.index if device.index is not None else int(os.environ.get("LOCAL_RANK", "0"))
        if index >= torch.cuda.device_count():
            raise DeviceError(f"there is no CUDA device {index}; found {torch.cuda.device_count()}")
        device = torch.device("cuda", index)
        torch.cuda.set_device(device)
    return device


def run(args: argparse.Namespace) -> None:
    """Loads, adapts, saves; writes the checkpoint's path to standard output."""
    from train.adaptation.distributed import process_group
    from train.adaptation.interrupt import interrupt_held_back
    from train.adaptation.loop import Adaptation, AdaptationConfig
    from train.adaptation.progress import training_progress

    config = AdaptationConfig(args.steps, args.batch_size, args.lr, args.seed)
    height, width = parse_size(args.image_size)
    if args.save_every < 1:
        raise UsageError(f"--save-every must be at least 1, found {args.save_every}")
    resume_file = _check_places(args)
    from train.words.vocabulary import Vocabulary

    wanted = Vocabulary.asked(args.categories, args.categories_file)
    device = choose_device(args.device)
    from train.load import load_model

    with process_group(device) as leader:
        model = load_model(args.base, wanted, tokenizer=args.tokenizer, device=str(device), seed=args.seed)
        adaptation = Adaptation(model, config)
        if args.resume:
            _restore(adaptation, resume_file)
        with training_progress(config.steps, adaptation.step, enabled=leader and not args.quiet) as show:

            def on_update(progress: Progress) -> None:
                show(progress)
                if leader and progress.step % args.save_every == 0 and progress.step < progress.steps:
                    _save_resume(adaptation, resume_file)

            try:
                adaptation.run(on_update)
            except KeyboardInterrupt:
                if leader:
                    with interrupt_held_back():  # an impatient second Ctrl-C
                        _save_resume(adaptation, resume_file)
                        sys.stderr.write(f"stopped at step {adaptation.step}; go on with --resume\n")
                raise
        if leader:
            with interrupt_held_back():  # the work is done: it is not thrown away in the last second
                _save_result(model, adaptation, args, (height, width))
                resume_file.unlink(missing_ok=True)
                sys.stdout.write(f"{args.out}\n")


def _check_places(args: argparse.Namespace) -> Path:
    """The resume file; nothing that will be written is something that is read, or that somebody else wrote.

    Raises:
        UsageError: it is, or it cannot be written.
    """
    from train.adaptation.places import refuse_foreign, refuse_sources, resume_path
    from train.checkpoints.locate import MICRO

    resume_file = resume_path(args.out)
    sources = [Path(args.base), args.categories_file, args.tokenizer, MICRO]
    refuse_sources([args.out, resume_file], [path for path in sources if path is not None])
    refuse_foreign([args.out] if args.resume else [args.out, resume_file])
    return resume_file


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Says which file could not be written, and why.

    torch's zip writer, closed after a write that failed, raises a RuntimeError of its own over the system's error.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        cause = error if isinstance(error, OSError) else error.__context__
        reason = cause.strerror if isinstance(cause, OSError) and cause.strerror else "the file came out incomplete"
        raise IfsegError(
            f"cannot write {path}: {reason}",
            hint=f"make room or check the rights in {path.parent}; --resume goes on from the last resume file, if any",
        ) from error


def _restore(adaptation: Adaptation, resume_file: Path) -> None:
    from train.adaptation.resume import read_resume

    if not resume_file.is_file():
        sys.stderr.write(f"nothing to resume: {resume_file} does not exist; starting at step 0\n")
        return
    adaptation.restore(read_resume(resume_file), str(resume_file))
    sys.stderr.write(f"resuming at step {adaptation.step}\n")


def _save_resume(adaptation: Adaptation, path: Path) -> None:
    from train.checkpoints.own import require_finite, write_atomically

    require_finite(adaptation.model.state_dict(), path)
    with _writing(path):
        write_atomically(adaptation.state(), path)


def _save_result(
    model: LoadedModel[IFSegModel], adaptation: Adaptation, args: argparse.Namespace, size: tuple[int, int]
) -> None:
    import torch

    import ifseg_rt
    from train.checkpoints.own import save_checkpoint
    from train.loaded_model import checkpoint_of

    config = adaptation.config
    base: dict[str, object] = {key: model.provenance[key] for key in ("base", "base_sha256") if key in model.provenance}
    provenance: dict[str, object] = {
        **base,
        "steps": config.steps,
        "batch_size": config.batch_size,
        "lr": config.lr,
        "seed": config.seed,
        "final_loss": None if config.steps == 0 else adaptation.loss,
        "image_size": f"{size[0]}x{size[1]}",
        "processes": adaptation.world,
        "torch": str(torch.__version__),
        "ifseg_rt": ifseg_rt.__version__,
    }
    with _writing(args.out):
        save_checkpoint(checkpoint_of(model, provenance), args.out)


def _out_of_memory(error: MemoryError | RuntimeError) -> DeviceError | None:
    """What torch says in several ways: an exception of its own on a GPU, a mere RuntimeError on a CPU."""
    words = str(error)
    if not (isinstance(error, MemoryError) or "out of memory" in words or "can't allocate memory" in words):
        return None
    return DeviceError("there is not enough memory for this batch", hint="use a smaller --batch-size")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return run_command(_main, argv)


def _main(argv: list[str]) -> None:
    args = parse(build_parser(), argv)
    try:
        run(args)
    except (MemoryError, RuntimeError) as error:
        failure = None if args.debug else _out_of_memory(error)
        if failure is None:
            raise
        raise failure from error


if __name__ == "__main__":
    sys.exit(main())
