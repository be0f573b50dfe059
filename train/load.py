"""``load_model``: one call for every kind of checkpoint."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ifseg_rt.artifact.sidecar import file_sha256
from ifseg_rt.errors import CheckpointError, UsageError, VocabularyError
from train.checkpoints import hub
from train.checkpoints.hugging_face_layout import CONFIG_FILE, WEIGHTS_FILE, check_settings, from_hugging_face
from train.checkpoints.ofa_layout import fill_model, infer_config
from train.checkpoints.own import Checkpoint, is_own_document, parse_checkpoint
from train.checkpoints.safe_pickle import load_untrusted
from train.loaded_model import LoadedModel, give_vocabulary
from train.words.prompt import build_prompt
from train.words.tokenizer import BpeTokenizer, Tokenizer, WordTokenizer
from train.words.vocabulary import Vocabulary

if TYPE_CHECKING:
    from train.models.ofa.model import IFSegModel

MICRO = Path(__file__).parent / "assets" / "micro.pt"


@dataclass(frozen=True)
class LoadedBase:
    """A model without, or with, a vocabulary, and what is known of where it came from.

    Attributes:
        model: the weights, in eval mode.
        stored: our own checkpoint's other contents; ``None`` for foreign files.
        folder: where tokenizer files may lie beside the weights.
        categories: category names the reference's checkpoint records, if any.
        provenance: ``base`` and ``base_sha256``, and for our own files everything they recorded.
        adapted: whether the weights have been adapted to categories.
    """

    model: IFSegModel
    stored: Checkpoint | None
    folder: Path
    categories: tuple[str, ...]
    provenance: dict[str, Any]
    adapted: bool


def load_base(source: str | Path, *, seed: int = 0) -> LoadedBase:
    """Reads ``"micro"``, our own ``ckpt.pt``, a fairseq ``.pt``, a Hugging Face folder or a hub id.

    Args:
        source: which.
        seed: for the segmentation tables that an un-adapted OFA lacks (spec 11.5).

    Raises:
        CheckpointError: missing, foreign, unsafe, damaged, or not fitting; see the message.
    """
    from train.models.ofa.model import IFSegModel

    path = _locate(source)
    weights = path / WEIGHTS_FILE if path.is_dir() else path
    document = load_untrusted(weights)
    stored: Checkpoint | None = None
    categories: tuple[str, ...] = ()
    if is_own_document(document):
        stored = parse_checkpoint(document, str(path))
        config, state = stored.config, dict(stored.state)
    else:
        state, categories = _foreign_state(document, str(path))
        config = infer_config(state, str(path))
        if path.is_dir():
            check_settings(path / CONFIG_FILE, config)
    try:
        model = IFSegModel(config)
    except (TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"no model can be built from the configuration in {path}: {error}") from error
    adapted = fill_model(model, state, str(path), seed=seed if stored is None else None)
    provenance = {"base": path.name if Path(source).exists() else str(source), "base_sha256": file_sha256(weights)}
    if stored is not None:
        adapted = bool(stored.vocabulary.categories)
        if adapted:
            provenance = dict(stored.provenance)
    return LoadedBase(model.eval(), stored, weights.parent, categories, provenance, adapted)


def _locate(source: str | Path) -> Path:
    path = Path(source)
    if str(source) == "micro" and not path.exists():
        path = MICRO
        if not path.is_file():
            raise CheckpointError("the shipped base model is missing from this installation", hint="reinstall ifseg-rt")
    if not path.exists() and hub.is_hub_id(str(source)):
        return hub.download(str(source), hub.MODEL_FILES, optional=hub.TOKENIZER_FILES)
    if path.is_dir():
        missing = [name for name in (CONFIG_FILE, WEIGHTS_FILE) if not (path / name).is_file()]
        if missing:
            raise CheckpointError(
                f"the folder {path} is not a Hugging Face OFA folder: it has no {' and no '.join(missing)}",
                hint="give the folder that holds both, or a checkpoint file",
            )
    return path


def _foreign_state(document: object, origin: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Tensors under fairseq's names, and the category list of the reference's options."""
    import torch

    wrapped = document if isinstance(document, dict) else {}
    inner = wrapped.get("model", wrapped)
    if not isinstance(inner, dict):
        raise CheckpointError(f"{origin} holds no model weights", hint="expected a checkpoint with a 'model' entry")
    state = {str(k): v for k, v in inner.items() if isinstance(v, torch.Tensor)}
    return from_hugging_face(state), _recorded_categories(wrapped.get("cfg"))


def _recorded_categories(cfg: object) -> tuple[str, ...]:
    """``category_list`` ("sky, road") from wherever the reference's configuration keeps it."""
    if isinstance(cfg, argparse.Namespace):
        cfg = vars(cfg)
    if not isinstance(cfg, dict):
        return ()
    found = cfg.get("category_list")
    if isinstance(found, str) and found.strip():
        return tuple(" ".join(name.split()) for name in found.split(",") if name.strip())
    for value in cfg.values():
        nested = _recorded_categories(value)
        if nested:
            return nested
    return ()


def find_tokenizer(base: LoadedBase, folder: str | Path | None = None) -> Tokenizer:
    """The base's tokenizer: its own words, or BPE files from ``folder``, beside the weights, or the hub.

    Raises:
        UsageError: files are given for a base that has its own words.
        VocabularyError: files that are given or found are damaged or another vocabulary's.
        CheckpointError: there are none, and the hub is out of reach.
    """
    words = base.stored.word_tokenizer if base.stored is not None else None
    if words is not None:
        if folder is not None:
            raise UsageError("this base reads whole words of its own", hint="leave the tokenizer option out")
        return words
    if folder is not None:
        return BpeTokenizer.from_folder(Path(folder))
    if BpeTokenizer.is_in(base.folder):
        return BpeTokenizer.from_folder(base.folder)
    return BpeTokenizer.from_folder(hub.download(hub.BART_TOKENIZER, hub.TOKENIZER_FILES))


def load_model(
    path: str | Path,
    categories: Vocabulary | str | Path | Sequence[str] | None = None,
    *,
    tokenizer: str | Path | None = None,
    device: str = "cpu",
    seed: int = 0,
) -> LoadedModel[IFSegModel]:
    """A model ready to segment into categories.

    Args:
        path: ``"micro"``, our own ``ckpt.pt``, a fairseq checkpoint, a Hugging Face OFA folder or hub id.
        categories: names, as :meth:`Vocabulary.of` takes them (a text is never a file; a file is a ``Path``); ``None``
            takes those that the checkpoint carries.
        tokenizer: folder with BPE files, for OFA models without them beside the weights.
        device: torch device.
        seed: for the segmentation tables that an un-adapted OFA lacks.

    Returns:
        The model in eval mode: called with normalised float32 ``[B, 3, H, W]`` RGB it gives logits ``[B, h * w, C]``.
        Its ``module`` is the ``torch.nn.Module``; beside it are ``vocabulary``, ``provenance``, ``tokenizer_entry``
        and ``category_ids``.

    Raises:
        CheckpointError: the checkpoint cannot be read.
        UsageError: ``categories`` is of a kind that names none in order, such as a set, or a file that cannot be read.
        VocabularyError: no categories, or some that are impossible or that the model cannot read.
    """
    wanted = None if categories is None else Vocabulary.of(categories)
    base = load_base(path, seed=seed)
    module, stored = base.model, base.stored
    provenance = {**base.provenance, "adapted": base.adapted}
    if wanted is None and stored is not None and stored.vocabulary.categories:
        vocabulary, entry = stored.vocabulary, stored.tokenizer
        prompt_ids, category_ids = stored.prompt_ids, stored.category_ids
    else:
        if wanted is None and not base.categories:
            raise VocabularyError(
                f"{path} carries no categories", hint='give some, e.g. categories="sky, road, traffic light"'
            )
        vocabulary = wanted or Vocabulary.of(base.categories)
        found = find_tokenizer(base, tokenizer)
        prompt_ids, category_ids = build_prompt(found, vocabulary, module.config.prompt_prefix)
        entry = tokenizer_entry(found)
    model = give_vocabulary(module, vocabulary, prompt_ids, category_ids, entry, provenance)
    module.to(device)
    return model


def tokenizer_entry(tokenizer: Tokenizer) -> dict[str, Any]:
    """What a checkpoint records of its tokenizer: the words themselves, or kind and hash of the BPE files."""
    if isinstance(tokenizer, WordTokenizer):
        return tokenizer.to_entry()
    return {"kind": tokenizer.kind, "identity": tokenizer.identity}
