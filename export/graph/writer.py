"""Writes a frozen module as ``model.onnx`` (and ``model.onnx.data`` where one file cannot hold it)."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ifseg_rt.artifact.schema import IMAGE
from ifseg_rt.errors import ExportError

if TYPE_CHECKING:
    from export.frozen.head import FrozenModel
    from export.frozen.precision import AttentionForm, Precision

# The name of an open batch axis in the graph.
BATCH_NAME = "batch"
# 20 has Gelu as one operator: ONNX Runtime does not recognise all the pieces it is cut into below (18). The oldest ONNX
# Runtime that is declared, 1.20, knows operators up to 21 and file formats up to 10.
DEFAULT_OPSET = 20
OLDEST_RUNTIME_IR = 10
# The first one in which convolutions take bfloat16.
BF16_OPSET = 22
# The first one with an Attention operator.
FUSED_OPSET = 23
OPSETS = (18, 20, BF16_OPSET, FUSED_OPSET)
# Protobuf refuses messages of 2 GiB, and ONNX Runtime parses a message into memory while it maps a file of weights
# beside it: base (532 MB) opens in 2.4 s with at most 1.3 GB like that, and in 2.9 s with 1.8 GB from one file.
SINGLE_FILE_LIMIT = 256_000_000
_NOISY_LOGGERS = ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")


def write_onnx(
    frozen: FrozenModel, path: Path, *, opset: int = DEFAULT_OPSET, single_file_limit: int = SINGLE_FILE_LIMIT
) -> list[Path]:
    """Writes the graph and checks it.

    Args:
        frozen: what to write.
        path: the ``.onnx`` file.
        opset: ONNX operator set.
        single_file_limit: weights of more bytes go to ``<path>.data`` beside it.

    Returns:
        The files written, the graph first.

    Raises:
        ExportError: the exporter or the ONNX checker refused the network, or the disk is full.
    """
    import onnx
    import torch

    from export.graph.dynamic_int8 import quantise_linears
    from export.graph.static_int8 import quantise_statically

    image = torch.zeros(frozen.batch, 3, *frozen.size)
    shapes: Any = None
    if frozen.smallest_batch is not None:
        shapes = ({0: torch.export.Dim(BATCH_NAME, min=frozen.smallest_batch, max=frozen.batch)},)
    files = [path]
    try:
        with _silence():
            program: Any = torch.onnx.export(
                frozen,
                (image,),
                dynamo=True,
                dynamic_shapes=shapes,
                opset_version=opset,
                input_names=[IMAGE],
                output_names=list(frozen.output_names),
                verbose=False,
            )
            if frozen.precision == "int8":
                quantise_linears(program.model)
            if frozen.precision == "int8_fp16":
                quantise_statically(program.model, frozen.input_ranges)
            _forget_origin(program.model)
            external = _constant_bytes(program.model) > single_file_limit
            if external:
                files.append(path.with_name(path.name + ".data"))
            program.save(path, external_data=external)
            onnx.checker.check_model(str(path), full_check=True)
    except OSError:
        raise  # of the place, which the caller chose
    except (RuntimeError, ValueError, TypeError, onnx.checker.ValidationError) as error:
        raise ExportError(f"the network could not be written as ONNX: {_first_line(error)}") from error
    return files


def default_opset(precision: Precision, attention: AttentionForm = "plain") -> int:
    """The operator set that a graph is written in unless asked otherwise."""
    if attention == "fused":
        return FUSED_OPSET
    return BF16_OPSET if precision == "bf16" else DEFAULT_OPSET


def _constant_bytes(model: Any) -> int:  # noqa: ANN401 - onnx_ir.Model
    tensors = (value.const_value for value in model.graph.initializers.values())
    return sum(tensor.nbytes for tensor in tensors if tensor is not None)


def _forget_origin(model: Any) -> None:  # noqa: ANN401 - onnx_ir.Model
    """Removes what the exporter notes on every node: source lines and folders of the machine it ran on.

    Two exports of the same model are then the same bytes.
    """
    model.metadata_props.clear()
    model.graph.metadata_props.clear()
    model.graph.doc_string = None
    model.graph.name = "ifseg"
    values = [*model.graph.inputs, *model.graph.initializers.values()]
    for node in model.graph.all_nodes():
        node.metadata_props.clear()
        node.doc_string = None
        values += node.outputs
    for value in values:
        value.metadata_props.clear()
        value.doc_string = None


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """The exporter prints, logs and warns about its own internals; none of it concerns a user."""
    levels = {name: logging.getLogger(name).level for name in _NOISY_LOGGERS}
    try:
        for name in _NOISY_LOGGERS:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
