"""What ONNX Runtime's errors mean, in one line: its own words carry C++ signatures, source lines and paths."""

from __future__ import annotations

import re

_LONGEST = 220
_STATUS = re.compile(r"^\[ONNXRuntimeError\] : \d+ : (\w+) : ")
# "/build/onnxruntime/core/graph/model.cc:181 onnxruntime::Model::Model(...) " in front of what is meant.
_PLACE = re.compile(r"\S*/[\w./-]+\.(?:cc|h|cpp|hpp|cu|cuh|inc):\d+ +")
_SIGNATURE = re.compile(r"^[\w:<>&*,~ ]*::\w+\(.*?\)(?: (?:const|mutable))*(?: \[with [^\]]*\])? +")
_FROM = re.compile(r"^Load model from .* failed: ?", re.DOTALL)
_IR = re.compile(r"model IR version: (\d+), max supported IR version: (\d+)")
_OPSET = re.compile(r"opset (\d+) is under development.*?(?:till|until) opset (\d+)", re.DOTALL | re.IGNORECASE)
_NO_KERNEL = re.compile(r"Could not find an implementation for (\w+)\((\d+)\) node")
_UNKNOWN_OPERATOR = re.compile(r"No [Oo]p registered for (\w+) with domain_version of (\d+)|(\w+) is not a registered")
_MEMORY = re.compile(r"Failed to allocate memory|Available memory of \d+ is smaller|std::bad_alloc")


def first_line(error: BaseException) -> str:
    """What an error says, in one line."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def runtime_words(error: BaseException) -> str:
    """What an error of ONNX Runtime says, without its inner names.

    Args:
        error: of opening or running a session.
    """
    text = " ".join(str(error).split())
    status = _STATUS.match(text)
    kind = status[1] if status is not None else ""
    if (found := _IR.search(text)) is not None:
        return f"it is written in file format version {found[1]}, this ONNX Runtime reads up to {found[2]}"
    if (found := _OPSET.search(text)) is not None:
        return f"it is written in operator set {found[1]}, this ONNX Runtime knows them up to {found[2]}"
    if (found := _NO_KERNEL.search(text)) is not None:
        return f"this ONNX Runtime cannot compute the operator {found[1]} of operator set {found[2]} here"
    if (found := _UNKNOWN_OPERATOR.search(text)) is not None:
        return f"it uses the operator {found[1] or found[3]}, which this ONNX Runtime does not know"
    if _MEMORY.search(text) is not None:
        return "it needs more memory than there is for it"
    if kind == "INVALID_PROTOBUF" or "ModelProto does not have a graph" in text:
        return "it is no ONNX model, or damaged"
    return _plain(text) or kind or type(error).__name__


def _plain(text: str) -> str:
    text = _FROM.sub("", _STATUS.sub("", text))
    parts = _PLACE.split(text)
    parts = [parts[0], *(_SIGNATURE.sub("", part) for part in parts[1:])]
    words = " ".join("".join(parts).split())
    return words if len(words) <= _LONGEST else words[: _LONGEST - 3] + "..."
