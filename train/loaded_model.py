"""A model beside what is known of it: the module computes, this record remembers words and origin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from train.checkpoints.own import Checkpoint
from train.words.vocabulary import Vocabulary

if TYPE_CHECKING:
    from torch import Tensor

    from train.models.base import SegmentationModel
    from train.models.ofa.model import IFSegModel
    from train.words.prompt import CategoryIds

Module = TypeVar("Module", bound="SegmentationModel", covariant=True)


@dataclass(frozen=True)
class LoadedModel(Generic[Module]):
    """A model with its vocabulary; calling it runs the module, whose attributes it also has.

    Attributes:
        module: the ``torch.nn.Module``.
        vocabulary: categories in label order; empty where only their number is known.
        category_ids: token ids of every name of every category.
        tokenizer_entry: what a checkpoint records of the tokenizer.
        provenance: where the weights come from, plain values.
    """

    module: Module
    vocabulary: Vocabulary = field(default_factory=lambda: Vocabulary(()))
    category_ids: CategoryIds = field(default_factory=list)
    tokenizer_entry: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)

    def __call__(self, images: Tensor) -> Tensor:
        """Normalised float32 ``[B, 3, H, W]`` RGB -> logits float32 ``[B, h * w, C]``."""
        logits: Tensor = self.module(images)
        return logits

    if not TYPE_CHECKING:  # our own code says ``.module``, and is checked for it

        def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever a module has
            """What else a module has: a loaded model is used like one, ``model.parameters()``."""
            if name.startswith("__") or name == "module":  # a record that is being copied has no fields yet
                raise AttributeError(name)
            return getattr(self.module, name)


def give_vocabulary(
    module: IFSegModel,
    vocabulary: Vocabulary,
    prompt_ids: list[int],
    category_ids: CategoryIds,
    tokenizer_entry: dict[str, Any],
    provenance: Mapping[str, Any] | None = None,
) -> LoadedModel[IFSegModel]:
    """Sets the module's vocabulary, and records it for whoever saves or exports the model.

    Raises:
        VocabularyError: nothing to classify, or a prompt longer than the position tables.
    """
    module.set_vocabulary(prompt_ids, category_ids)
    return LoadedModel(module, vocabulary, category_ids, tokenizer_entry, dict(provenance or {}))


def checkpoint_of(model: LoadedModel[IFSegModel], provenance: dict[str, Any]) -> Checkpoint:
    """The checkpoint of a model, with this provenance, for :func:`train.checkpoints.own.save_checkpoint`."""
    return Checkpoint(
        config=model.module.config,
        state=model.module.state_dict(),
        vocabulary=model.vocabulary,
        prompt_ids=model.module.prompt_ids.tolist(),
        category_ids=model.category_ids,
        tokenizer=model.tokenizer_entry,
        provenance=provenance,
    )
