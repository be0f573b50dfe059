"""Writes a checkpoint whose answers mean nothing, for measurements of time alone.

An OFA size gets random weights and made-up categories, so that no download and no vocabulary file is needed; ``micro``
is the shipped model with the first of its own words. Twelve categories make a prompt as long as the one that the
reference was timed with. The length of the prompt and the number of
parameters are printed, as JSON.
"""

from __future__ import annotations

import itertools
import json
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.command import run_command
from ifseg_rt.errors import UsageError

if TYPE_CHECKING:
    from train.loaded_model import LoadedModel
    from train.models.ofa.model import IFSegModel

# The reference's list of 12 categories makes a prompt of 37 tokens: 12 for the question, 3 for the beginning, the end
# and "unknown", and 22 for the names.
_FIXED_TOKENS = 15
_TOKENS_PER_NAME = 22 / 12
_FIRST_WORD_ID = 1000


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command."""
    parser = ArgumentParser(
        prog="python -m benchmarks.making.untrained", description=__doc__, formatter_class=RawDescriptionHelpFormatter
    )
    parser.add_argument("model", help="micro, tiny, medium, base, large or huge")
    parser.add_argument("--categories", type=int, default=12, help="number of categories")
    parser.add_argument("--out", type=Path, required=True, help="checkpoint to write")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random weights")
    return run_command(parser, _write, argv)


def _write(options: Namespace) -> None:
    from train.checkpoints.own import save_checkpoint
    from train.loaded_model import checkpoint_of
    from train.models.ofa.config import PRESETS

    if options.categories < 1:
        raise UsageError(f"--categories {options.categories}: expected at least one")
    if options.model not in PRESETS:
        raise UsageError(f"there is no model {options.model!r}", hint=f"choose from {', '.join(sorted(PRESETS))}")
    if options.model == "micro":
        model = _shipped(options.categories)
    else:
        model = _random(options.model, options.categories, options.seed)
    save_checkpoint(checkpoint_of(model, {"base": f"{options.model}, untrained"}), options.out)
    parameters = round(sum(p.numel() for p in model.module.parameters()) / 1e6, 1)
    sys.stdout.write(json.dumps({"prompt": len(model.prompt_ids), "parameters_m": parameters}) + "\n")


def _shipped(categories: int) -> LoadedModel[IFSegModel]:
    from train import load_model
    from train.load import find_tokenizer, load_base
    from train.words.tokenizer import WordTokenizer

    tokenizer = find_tokenizer(load_base("micro"))
    words = list(tokenizer.words) if isinstance(tokenizer, WordTokenizer) else []
    # Names only: the table also holds tokens that are no words, such as the beginning and the end of a prompt.
    names = list(itertools.islice((word for word in words if word.replace(" ", "").isalpha()), categories))
    if len(names) < categories:
        raise UsageError(f"micro knows {len(names)} words; {categories} categories were asked for")
    return load_model("micro", categories=names)


def _random(name: str, categories: int, seed: int) -> LoadedModel[IFSegModel]:
    import torch

    from train.loaded_model import give_vocabulary
    from train.models.ofa.config import PRESETS
    from train.models.ofa.model import IFSegModel
    from train.words.vocabulary import Vocabulary

    torch.manual_seed(seed)
    model = IFSegModel(PRESETS[name]).eval()
    names = [f"category {number}" for number in range(1, categories + 1)]
    category_ids = [[[_FIRST_WORD_ID + number]] for number in range(categories)]
    length = min(_FIXED_TOKENS + round(_TOKENS_PER_NAME * categories), model.config.max_prompt_tokens)
    prompt_ids = [0, *range(_FIRST_WORD_ID, _FIRST_WORD_ID + length - 2), 2]
    entry = {"kind": model.config.tokenizer, "identity": "none: random weights"}
    return give_vocabulary(model, Vocabulary.of(names), prompt_ids, category_ids, entry)


if __name__ == "__main__":
    sys.exit(main())
