"""Checkpoints that somebody or something changed: every one is refused in one line, or still is the same model.

``python -m tests.hostile.checkpoints --seed 1 --faults 150`` goes through as many and ends with 1 if one is not.
"""

from __future__ import annotations

import argparse
import copy
import random
import resource
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ifseg_rt.errors import IfsegError
from train.checkpoints.checksum import checksum, not_plain
from train.checkpoints.own import Checkpoint, save_checkpoint
from train.checkpoints.safe_pickle import load_untrusted
from train.load import load_base, load_model
from train.models.ofa.config import ModelConfig
from train.models.ofa.model import IFSegModel
from train.words.tokenizer import WordTokenizer
from train.words.vocabulary import Vocabulary

Case = tuple[str, Callable[[], str | None]]
Document = dict[str, Any]
Write = Callable[[Path], None]

# What a file of a few hundred kilobytes may cost; a model that a file merely claims would take far more.
MOST_EXTRA_KILOBYTES = 1 << 20


def own_file(path: Path) -> Path:
    """A small checkpoint of ours with two categories."""
    torch.manual_seed(0)
    config = ModelConfig(
        name="small", d_model=16, heads=2, ffn_dim=16, encoder_layers=1, decoder_layers=1, backbone_blocks=(1, 1, 1),
        vocab_size=16, max_text_positions=32, tokenizer="words", prompt_prefix="",
    )  # fmt: skip
    entry = WordTokenizer({"road": 4, "street": 5, "sky": 6}, {"lane": "road"}).to_entry()
    state = IFSegModel(config).state_dict()
    vocabulary = Vocabulary.of(["road", "sky"])
    provenance = {"base": "small", "base_sha256": "0" * 64, "image_size": "64x64"}
    save_checkpoint(Checkpoint(config, state, vocabulary, [0, 4, 6, 3, 2], [[[4]], [[6]]], entry, provenance), path)
    return path


def foreign_file(path: Path) -> Path:
    """A small adapted model as the reference's trainer writes it."""
    torch.manual_seed(0)
    config = ModelConfig(
        name="small", d_model=8, heads=2, ffn_dim=8, encoder_layers=1, decoder_layers=1, backbone_blocks=(1, 1, 1)
    )
    options = argparse.Namespace(category_list="sky, road", arch="segofa_base")
    torch.save({"cfg": {"task": options}, "model": IFSegModel(config).state_dict()}, path)
    return path


def state_of(path: Path) -> dict[str, Tensor]:
    """The weights and the vocabulary that a file gives; of foreign files the weights alone, without a tokenizer."""
    if path.name.startswith("foreign"):
        return dict(load_base(path).model.state_dict())
    loaded = load_model(path)
    names = torch.tensor([ord(c) for name in loaded.vocabulary.names for c in name])
    return {**loaded.module.state_dict(), "names": names, "prompt": loaded.module.prompt_ids}


def violation(path: Path, expected: dict[str, Tensor]) -> str | None:
    """What is wrong with how a damaged file is treated; ``None``: it was refused in a line, or gave the same model."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        found = state_of(path)
    except IfsegError as error:
        if error.exit_code not in (7, 8):
            return f"exit code {error.exit_code}: {error}"
        if "\n" in str(error) or len(str(error)) > 1500:
            return f"not one line: {str(error)[:200]!r}"
        found = None
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:200]}"
    if resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before > MOST_EXTRA_KILOBYTES:
        return "took more than a gigabyte"
    if found is not None and not (
        found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)
    ):
        return "another model was accepted"
    return None


# -- bytes ----------------------------------------------------------------------------------------------------------


def flipped(content: bytes, place: random.Random) -> bytes:
    changed = bytearray(content)
    changed[place.randrange(len(changed))] ^= 1 << place.randrange(8)
    return bytes(changed)


def cut(content: bytes, place: random.Random) -> bytes:
    return content[: place.randrange(len(content))]


def overwritten(content: bytes, place: random.Random) -> bytes:
    start, length = place.randrange(len(content)), place.randrange(1, 4096)
    return content[:start] + place.randbytes(min(length, len(content) - start)) + content[start + length :]


def inserted(content: bytes, place: random.Random) -> bytes:
    start = place.randrange(len(content))
    return content[:start] + place.randbytes(place.randrange(1, 64)) + content[start:]


def moved(content: bytes, place: random.Random) -> bytes:
    start = place.randrange(len(content) - 8192)
    return (
        content[:start] + content[start + 4096 : start + 8192] + content[start : start + 4096] + content[start + 8192 :]
    )


BYTES = (flipped, flipped, flipped, cut, overwritten, inserted, moved)


# -- contents -------------------------------------------------------------------------------------------------------


def itself() -> Document:
    found: Document = {}
    found["again"] = found
    return found


def laughs() -> list[Any]:
    found: list[Any] = ["ha"]
    for _ in range(40):
        found = [found, found]
    return found


STRANGE: tuple[Callable[[], object], ...] = (
    lambda: 0, lambda: -1, lambda: 10**9, lambda: 10**18, lambda: 2**70, lambda: 0.5, lambda: float("nan"),
    lambda: float("inf"), lambda: "x", lambda: "", lambda: "x" * 1_000_000, lambda: None, lambda: True, lambda: [],
    lambda: [0, 0, 0], lambda: {}, lambda: (1, 2), lambda: "a\nb", lambda: torch.zeros(3), itself, laughs,
    lambda: {1: 2}, lambda: [[[]]], lambda: "\ud800",
)  # fmt: skip

TENSORS: tuple[Callable[[Tensor], object], ...] = (
    lambda t: t.to(torch.complex64), lambda t: t.bool(), lambda t: t.int(), lambda t: t.to_sparse(),
    lambda t: t.to("meta"), lambda t: torch.full_like(t, float("nan")), lambda t: torch.full_like(t, float("-inf")),
    lambda t: t.double() * 1e200, lambda t: t.reshape(-1)[:1].clone(), lambda t: t[..., None].clone(),
    lambda t: t[:0].clone(), lambda t: torch.zeros(1).expand(10**6, 10**6), lambda t: t.tolist(), lambda t: "weights",
    lambda t: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8), lambda t: t.to(torch.float8_e4m3fn), lambda t: None,
    lambda t: t + 1, lambda t: t * 1.001,
)  # fmt: skip
_BROKEN = len(TENSORS) - 2


def change_field(document: Document, place: random.Random) -> str:
    """One value somewhere in the record becomes another."""
    key = place.choice([key for key in document if key != "model"])
    value = STRANGE[place.randrange(len(STRANGE))]()
    inner = document[key]
    if isinstance(inner, dict) and inner and place.random() < 0.8:
        key = place.choice(list(inner))
        inner[key] = value
    else:
        document[key] = value
    return key


def change_config(document: Document, place: random.Random) -> str:
    key = place.choice(list(document["config"]))
    document["config"][key] = STRANGE[place.randrange(len(STRANGE))]()
    return key


def change_tensor(document: Document, place: random.Random) -> str:
    key = place.choice([key for key, value in document["model"].items() if value.numel()])
    document["model"][key] = TENSORS[place.randrange(len(TENSORS))](document["model"][key])
    return key


def drop(document: Document, place: random.Random) -> str:
    inside = document["model"] if place.random() < 0.5 else document
    key = place.choice([key for key in inside if key not in ("format", "prompt_prefix")])
    del inside[key]
    return key


def change_wrapping(document: Document, place: random.Random) -> str:
    """What stands around the tensors of a foreign file."""
    key = place.choice(["cfg", "model", "ema", "extra_state", "model", "optimizer_history"])
    document[key] = STRANGE[place.randrange(len(STRANGE))]()
    return key


def break_tensor(document: Document, place: random.Random) -> str:
    """A tensor that no model has; other numbers would be another model, and a foreign file has nothing against that."""
    key = place.choice([key for key, value in document["model"].items() if value.numel()])
    document["model"][key] = place.choice(TENSORS[:_BROKEN])(document["model"][key])
    return key


def huge_layer(document: Document, place: random.Random) -> str:
    """Names and shapes that ask for a model without end."""
    key = place.choice(["encoder.layers.99999999.fc1.weight", "decoder.token_rel_pos_table_list.123456789.x",
                        "encoder.layers." + "9" * 5000 + ".x",
                        "encoder.embed_images.layer1.1000000.conv1.weight"])  # fmt: skip
    document["model"][key] = torch.zeros(1)
    if place.random() < 0.5:
        document["model"]["encoder.layers.0.fc1.weight"] = torch.zeros(100_000, 1)
    return key


FOREIGN = (change_wrapping, break_tensor, break_tensor, huge_layer)
CONTENTS = (change_field, change_config, change_config, change_tensor, change_tensor, drop)


def sealed(document: Document) -> Document:
    """With a checksum that fits, as somebody who knows the format would write it; as it is where none can be made."""
    record = {key: value for key, value in document.items() if key not in ("model", "checksum")}
    if not_plain(record) is None:
        document["checksum"] = checksum(record, document["model"])
    return document


def cases(seed: int, count: int) -> Iterator[Case]:
    """As many faults; each case gives a sentence where it is not treated as it should be.

    Half of them change bytes of the file, half its contents. Of the latter those of weights keep the old checksum: with
    a new one they would simply be another model.
    """
    place = random.Random(seed)
    folder = Path(tempfile.mkdtemp(prefix="hostile."))
    own, foreign = own_file(folder / "own.pt"), foreign_file(folder / "foreign.pt")
    known = {path: (state_of(path), load_untrusted(path)) for path in (own, foreign)}
    for number in range(count):
        whole = foreign if number % 3 == 2 else own
        path = folder / f"{whole.stem}{number}.pt"
        expected, document = known[whole]
        if number % 2:
            change = place.choice(BYTES)
            name, write = change.__name__, _bytes_changed(whole.read_bytes(), change, place.getrandbits(60))
        else:
            alter = place.choice(FOREIGN if whole is foreign else CONTENTS)
            seal = alter in (change_config, change_field) and place.random() < 0.7
            name = alter.__name__ + (", sealed again" if seal else "")
            write = _contents_changed(document, alter, place.getrandbits(60), seal)

        def run(path: Path = path, write: Write = write, expected: dict[str, Tensor] = expected) -> str | None:
            try:
                write(path)
                return violation(path, expected)
            finally:
                path.unlink(missing_ok=True)

        yield f"checkpoint {number}: {name} in {whole.name}", run


def _bytes_changed(content: bytes, change: Callable[[bytes, random.Random], bytes], state: int) -> Write:
    return lambda path: path.write_bytes(change(content, random.Random(state))) and None


def _contents_changed(
    document: Document, alter: Callable[[Document, random.Random], str], state: int, seal: bool
) -> Write:
    def write(path: Path) -> None:
        changed = copy.deepcopy({key: value for key, value in document.items() if key != "model"})
        changed["model"] = dict(document["model"])
        alter(changed, random.Random(state))
        torch.save(sealed(changed) if seal else changed, path)

    return write


def main() -> int:
    """Runs the cases and prints what is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--faults", type=int, default=150)
    options = parser.parse_args()
    found = 0
    for name, run in cases(options.seed, options.faults):
        problem = run()
        if problem is not None:
            found += 1
            sys.stdout.write(f"{name}: {problem}\n")
    sys.stdout.write(f"{options.faults} faults, {found} treated wrongly\n")
    return int(found > 0)


if __name__ == "__main__":
    sys.exit(main())
