"""``load_model``: one call for every kind of checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ifseg_rt.errors import CheckpointError, UsageError, VocabularyError
from train.checkpoints import hub
from train.checkpoints.hugging_face_layout import check_settings, from_hugging_face
from train.checkpoints.locate import MICRO, Located, locate
from train.checkpoints.ofa_layout import check_weight, fill_model, infer_config
from train.checkpoints.own import Checkpoint, is_own_document, parse_checkpoint
from train.checkpoints.safe_pickle import load_untrusted, require_file
from train.checkpoints.safetensors_reader import is_safetensors, read_safetensors
from train.checkpoints.sound_tensors import plain_state
from train.checkpoints.state_wrappers import find_part, find_state, recorded_categories
from train.checkpoints.weights_folder import join
from train.loaded_model import LoadedModel, give_vocabulary
from train.words.prompt import build_prompt
from train.words.tokenizer import BpeTokenizer, Tokenizer, WordTokenizer
from train.words.vocabulary import Vocabulary

if TYPE_CHECKING:
    from train.models.ofa.model import IFSegModel

__all__ = ["MICRO", "LoadedBase", "find_tokenizer", "load_base", "load_model", "tokenizer_entry"]


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
    return _load_located(locate(source), seed)


def _load_located(place: Located, seed: int) -> LoadedBase:
    from train.models.ofa.model import IFSegModel

    origin = str(place.path)
    first = place.weights.files[0]
    document = _read(first)
    stored: Checkpoint | None = None
    categories: tuple[str, ...] = ()
    if len(place.weights.files) == 1 and is_own_document(document):
        stored = parse_checkpoint(document, origin)
        config, state = stored.config, dict(stored.state)
    else:
        if len(place.weights.files) > 1:
            parts = {path: find_part(document if path == first else _read(path), path) for path in place.weights.files}
            document = join(parts, place.weights.index)
        state = from_hugging_face(plain_state(find_state(document, origin), origin))
        categories = recorded_categories(document)
        config = infer_config(state, origin)
        check_weight(config, state, origin)
        if place.weights.settings is not None:
            check_settings(place.weights.settings, config)
    try:
        model = IFSegModel(config)
    except (TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"no model can be built from the configuration in {origin}: {error}") from error
    adapted = fill_model(model, state, origin, seed=seed if stored is None else None)
    provenance = {"base": place.name, "base_sha256": place.sha256()}
    if stored is not None:
        adapted = bool(stored.vocabulary.categories)
        if adapted:
            provenance = dict(stored.provenance)
    return LoadedBase(model.eval(), stored, place.folder, categories, provenance, adapted)


def _read(path: Path) -> object:
    """What a file of weights holds, whatever its name says."""
    require_file(path)
    if is_safetensors(path):
        return read_safetensors(path)
    return load_untrusted(path)


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
    return _bpe_tokenizer(base.folder, folder)


def _bpe_tokenizer(beside: Path, given: str | Path | None) -> Tokenizer:
    if given is not None:
        return BpeTokenizer.from_folder(Path(given))
    if BpeTokenizer.is_in(beside):
        return BpeTokenizer.from_folder(beside)
    try:
        return BpeTokenizer.from_folder(hub.download(hub.BART_TOKENIZER, hub.TOKENIZER_FILES))
    except CheckpointError as error:
        raise CheckpointError(
            f"an OFA model reads words by BPE files: none are beside the weights in {beside}, and {error}",
            hint="put vocab.json and merges.txt (or encoder.json, vocab.bpe and dict.txt) beside the weights, or pass "
            "--tokenizer FOLDER",
        ) from error


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
    place = locate(path)
    # Of an OFA model before its hundreds of megabytes are read: without these files that would be in vain.
    found = _bpe_tokenizer(place.folder, tokenizer) if place.needs_tokenizer else None
    base = _load_located(place, seed)
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
        found = found or find_tokenizer(base, tokenizer)
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
