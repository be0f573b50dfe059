"""Whether what a file calls a tensor is one of real numbers that lie in memory, before anything computes with it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ifseg_rt.errors import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor


def plain_tensor(value: object) -> Tensor | str:
    """The tensor alone, without whatever a file attached to it; or what is wrong with it, in a few words.

    A file may describe a tensor of any shape over a few bytes (expanded), one without numbers (meta), or one whose
    attributes hide its methods; the first operation on it would fail in the library's words, or take all memory.
    """
    import torch

    if type(value) not in (torch.Tensor, torch.nn.Parameter):
        return f"is no tensor of numbers but {type(value).__name__}"
    tensor = torch.Tensor.detach(value)  # type: ignore[arg-type]
    if tensor.layout is not torch.strided or tensor.is_nested or tensor.is_quantized:
        return "is no tensor of plain numbers, but sparse, nested or quantised"
    if tensor.device.type != "cpu":
        return f"is no tensor with numbers, being on the device {tensor.device.type!r}"
    if tensor.is_complex():
        return "is no tensor of real numbers, but complex"
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        return f"has fewer numbers than its shape {list(tensor.shape)[:8]} says"
    return tensor


def plain_state(entries: Mapping[Any, object], origin: str) -> dict[str, Tensor]:
    """All tensors among the entries of a state dict, each as :func:`plain_tensor` gives it; other values are left out.

    Raises:
        CheckpointError: one is no tensor of real numbers in memory; up to five are named.
    """
    import torch

    found = {
        name: plain_tensor(value)
        for name, value in entries.items()
        if isinstance(name, str) and isinstance(value, torch.Tensor)
    }
    problems = [f"{_shown(name)} {problem}" for name, problem in found.items() if isinstance(problem, str)]
    if problems:
        raise CheckpointError(
            f"{origin} holds weights that no model here has: {', '.join(problems[:5])}",
            hint="expected plain tensors of numbers, as torch.save(model.state_dict()) writes them",
        )
    return {name: tensor for name, tensor in found.items() if not isinstance(tensor, str)}


def _shown(name: str) -> str:
    """A name that a stranger chose, in one line."""
    return name[:100] if name.isprintable() else ascii(name[:100])


def unlike(tensor: Tensor, expected: Tensor) -> str | None:
    """What keeps a plain tensor from standing for ``expected``: shape, kind of numbers, values; ``None``: nothing."""
    if tensor.shape != expected.shape:
        return f"expected {list(expected.shape)}, found {list(tensor.shape)[:8]}"
    if tensor.is_floating_point() != expected.is_floating_point() or tensor.element_size() == 1:
        found, wanted = (str(dtype).removeprefix("torch.") for dtype in (tensor.dtype, expected.dtype))
        return f"expected numbers like {wanted}, found {found}"
    # In the dtype of the model: what float64 holds can be infinite in float32.
    if not bool(tensor.to(expected.dtype).isfinite().all()):
        return "holds values that are not finite"
    return None


def bytes_of(tensors: Iterable[Tensor]) -> int:
    """Memory of some plain tensors, what they share counted once."""
    return sum({tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}.values())
