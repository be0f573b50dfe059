"""YAML as plain lists, maps and texts. A text is what stands in the file: ``no`` stays ``no``.

PyYAML comes with the training side (huggingface_hub needs it), and without that nobody adapts to names.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NoReturn

from ifseg_rt.categories.wanted import FORMS, shown
from ifseg_rt.errors import UsageError

if TYPE_CHECKING:
    from yaml.nodes import Node

_LONGEST = 1 << 18  # characters; PyYAML reads some 30,000 of brackets and commas a second
_TEXTS = {"str", "bool", "timestamp", "value"}
_TAG = "tag:yaml.org,2002:"
_DEEPEST = 4  # names: -> list -> entry -> synonyms -> text
_COMMENTED_COLOR = re.compile(r"[ \t]+(#[0-9a-fA-F]{3}(?:[0-9a-fA-F]{3})?)(?!\S)")
# Of a data set's file (Ultralytics data.yaml) only these speak of names.
_KEYS = ("names", "nc")


def yaml_values(text: str, origin: str) -> object:
    """The list or map in ``text``; of a map with the key ``names`` only that key and ``nc``.

    Nothing is constructed but lists, dicts, texts, whole numbers and ``None``, and aliases are refused, so that a file
    of any origin may be read.

    Raises:
        UsageError: no YAML, no list or map, or values that are no texts; or PyYAML is not installed.
    """
    if len(text) > _LONGEST:
        raise UsageError(f"{origin} has {len(text)} characters, too many to be read as YAML", hint="give JSON or lines")
    try:
        import yaml
    except ImportError:
        raise UsageError(
            f"{origin} is YAML, which takes the package pyyaml", hint="pip install pyyaml, or give JSON or lines"
        ) from None
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except RecursionError:
        raise UsageError(f"{origin} is nested too deeply", hint=FORMS) from None
    except (yaml.YAMLError, ValueError) as error:
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
        line = f" in line {mark.line + 1}" if mark is not None else ""
        problem = problem or str(error).splitlines()[0]
        raise UsageError(f"{origin} is neither JSON nor YAML{line}: {problem}", hint=FORMS) from None
    if not isinstance(root, yaml.SequenceNode | yaml.MappingNode):
        raise UsageError(f"{origin} holds no list and no map", hint=FORMS)
    return _Values(text, origin).of(root)


class _Values:
    """Plain values of nodes, each visited once."""

    def __init__(self, text: str, origin: str) -> None:
        self._text, self._origin = text, origin
        self._seen: set[int] = set()

    def of(self, node: Node, depth: int = 0) -> Any:  # noqa: ANN401 - whatever the file holds
        if depth > _DEEPEST or id(node) in self._seen:
            self._refuse(node, "an alias" if depth <= _DEEPEST else "a list too deep for names", FORMS)
        self._seen.add(id(node))
        if node.id != "scalar" and node.tag not in (f"{_TAG}seq", f"{_TAG}map"):
            self._refuse(node, f"a value of the type {shown(node.tag.removeprefix(_TAG))}", FORMS)
        if node.id == "sequence":
            return [self.of(entry, depth + 1) for entry in node.value]
        if node.id == "scalar":
            return self._scalar(node)
        fields: dict[Any, Any] = {}
        dataset = depth == 0 and any(key.value == "names" for key, _ in node.value)
        for key_node, value in node.value:
            if dataset and key_node.value not in _KEYS:
                continue
            key = self.of(key_node, _DEEPEST)
            if isinstance(key, list | dict) or key in fields:
                self._refuse(key_node, "a key that is given twice or is no text", FORMS)
            fields[key] = self.of(value, depth + 1)
        return fields

    def _scalar(self, node: Node) -> str | int | None:
        value: str = node.value
        tag = node.tag.removeprefix(_TAG)
        comment = _COMMENTED_COLOR.match(self._text, node.end_mark.index)
        if comment is not None:
            self._refuse(
                node,
                f"the colour {comment[1]} behind {shown(value)}, a comment to YAML",
                f'write {{name: {value}, color: "{comment[1]}"}}',
            )
        if tag in _TEXTS:
            return value
        if tag == "null":
            return None
        if tag == "int" and re.fullmatch("0|[1-9][0-9]{0,8}", value):
            return int(value)
        self._refuse(node, f"{shown(value)}, which is no text to YAML", f"quote it: {value!r}")

    def _refuse(self, node: Node, what: str, hint: str) -> NoReturn:
        raise UsageError(f"{self._origin}, line {node.start_mark.line + 1}, holds {what}", hint=hint)
