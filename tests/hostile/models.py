"""Mutations of a model and its sidecar: nothing but the model that was sealed may ever be run."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import random
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tests.faults.making.tiny_model import write_model
from tests.hostile.watch import WILD, entries, judged

Case = tuple[str, Callable[[], str | None]]
FRAME = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


def cases(seed: int, count: int) -> Iterator[Case]:
    """``count`` mutations by that seed."""
    with tempfile.TemporaryDirectory() as folder:
        source = write_model(Path(folder))
        model, sidecar = source.read_bytes(), json.loads(source.with_suffix(".json").read_text())
    kinds: list[Callable[..., str | None]] = [_spoiled, _edited, _sealed, _sealed, _hostile_graph, _odd_sidecar]
    for number in range(count):
        kind = kinds[number % len(kinds)]
        yield f"{kind.__name__[1:]} {number}", partial(_run, kind, f"{seed}/{number}", model, sidecar)


def _run(kind: Callable[..., str | None], seed: str, model: bytes, sidecar: dict[str, Any]) -> str | None:
    with tempfile.TemporaryDirectory() as outside:
        folder = Path(outside) / "inside"
        folder.mkdir()
        path = folder / "model.onnx"
        path.write_bytes(model)
        found = judged(lambda: kind(random.Random(seed), path, copy.deepcopy(sidecar)))
        strange = entries(Path(outside)) - {"inside", *(f"inside/{entry.name}" for entry in folder.iterdir())}
        return found or (f"written outside: {sorted(strange)}" if strange else None)


def seal(path: Path, sidecar: dict[str, Any]) -> None:
    """Write a sidecar as anyone can who knows the form."""
    plain = {key: value for key, value in sidecar.items() if key != "integrity"}
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"))
    sealed = {**plain, "integrity": hashlib.sha256(text.encode()).hexdigest()}
    path.write_text(json.dumps(sealed), encoding="utf-8")


def used(path: Path) -> None:
    """Open a model and label a frame: labels are labels, or one of our errors is raised."""
    from ifseg_rt import Segmenter

    with Segmenter(path, device="cpu", threads=1) as segmenter:
        result = segmenter(FRAME)
        count = len(segmenter.categories)
    if result.labels.shape != FRAME.shape[:2] or int(result.labels.max()) >= count:
        raise AssertionError("labels that are none")
    if not 0.0 <= float(result.probabilities.min()) <= float(result.probabilities.max()) <= 1.02:
        raise AssertionError("probabilities that are none")


def refused(path: Path, why: str) -> str | None:
    """A model that has to be refused."""
    from ifseg_rt.errors import IfsegError

    try:
        used(path)
    except IfsegError as error:
        raise error from None  # its words are judged
    return f"accepted: {why}"


def _spoiled(dice: random.Random, path: Path, sidecar: dict[str, Any]) -> str | None:
    """Bits of the weights or the graph; the sidecar is as it was."""
    data = bytearray(path.read_bytes())
    what = dice.choice(("flip", "cut", "longer", "empty"))
    if what == "flip":
        for _ in range(dice.choice((1, 1, 5))):
            data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    elif what == "cut":
        del data[dice.randrange(len(data)) :]
    elif what == "longer":
        data += bytes(dice.randrange(1, 50))
    else:
        data.clear()
    same = bytes(data) == path.read_bytes()
    path.write_bytes(bytes(data))
    seal(path.with_suffix(".json"), sidecar)
    return None if same else refused(path, what)


def _places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if place:
        yield place
    if isinstance(value, dict | list):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _places(part, (*place, key))


def _edit(dice: random.Random, sidecar: dict[str, Any]) -> str:
    *way, last = dice.choice([place for place in _places(sidecar) if place != ("integrity",)])
    holder: Any = sidecar
    for key in way:
        holder = holder[key]
    before = copy.deepcopy(holder[last])
    if dice.random() < 0.15:
        del holder[last]
    elif isinstance(holder, dict) and dice.random() < 0.1:
        holder["more"] = dice.choice(WILD)
    else:
        numeric = isinstance(before, int | float) and dice.random() < 0.5
        holder[last] = before + dice.choice((-1, 1, 2, 1000)) if numeric else dice.choice(WILD)
    return f"{'.'.join(map(str, (*way, last)))}: {str(before)[:40]}"


def _edited(dice: random.Random, path: Path, sidecar: dict[str, Any]) -> str | None:
    """A field, without a new seal."""
    before = json.dumps(sidecar, sort_keys=True)
    what = _edit(dice, sidecar)
    if json.dumps(sidecar, sort_keys=True) == before:
        return None
    path.with_suffix(".json").write_text(json.dumps(sidecar), encoding="utf-8")
    return refused(path, what)


def _sealed(dice: random.Random, path: Path, sidecar: dict[str, Any]) -> str | None:
    """Fields, with a new seal: what is left may run, if it computes what it says."""
    weights = copy.deepcopy(sidecar["files"])
    for _ in range(dice.choice((1, 1, 2))):
        _edit(dice, sidecar)
    seal(path.with_suffix(".json"), sidecar)
    used(path)
    names = ("bytes", "sha256")
    same = [[f[n] for n in names] for f in sidecar["files"][:1]] == [[f[n] for n in names] for f in weights[:1]]
    return None if same else "accepted: another hash of the weights"


def _hostile_graph(dice: random.Random, path: Path, sidecar: dict[str, Any]) -> str | None:
    """A graph of somebody who knows the form, with a sidecar that fits it."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load(path)
    graph = model.graph
    what = dice.choice(("weights", "outside", "neighbours", "probabilities", "nan", "large", "new", "format", "code"))
    if what in ("weights", "outside"):
        tensor = dice.choice([t for t in graph.initializer if t.name in ("detectors", "biases")])
        name = "other.data" if what == "weights" else dice.choice(("/etc/passwd", "../x", "*/_ORT_MEM_ADDR_/*", ""))
        if what == "weights":
            path.with_name(name).write_bytes(tensor.raw_data)
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=name)
    elif what in ("neighbours", "probabilities", "nan"):
        name = "neighbours" if what == "neighbours" else "probabilities"
        node = next(n for n in graph.node if name in n.output)
        node.output[0] = "honest"
        value = {
            "neighbours": np.int32(dice.choice((-1, -(2**31), 2**31 - 1, 24))),
            "probabilities": np.float32(dice.choice((-1, 3.4e38, 2))),
            "nan": np.float32("nan"),
        }[what]
        graph.initializer.append(numpy_helper.from_array(np.asarray(value), "lie"))
        graph.node.append(helper.make_node("Sub", ["honest", "honest"], ["zero"]))
        graph.node.append(helper.make_node("Add", ["zero", "lie"], [name]))
    elif what == "large":
        graph.initializer.append(numpy_helper.from_array(np.array([1 << 40]), "huge"))
        graph.node.insert(0, helper.make_node("ConstantOfShape", ["huge"], ["very_large"]))
        graph.node.insert(1, helper.make_node("ReduceMax", ["very_large"], ["one"], keepdims=0))
        node = next(n for n in graph.node if "logits" in n.output)
        node.output[0] = "honest"
        graph.node.append(helper.make_node("Add", ["honest", "one"], ["logits"]))
        for n in graph.node:
            n.input[:] = ["honest" if i == "logits" and n.name != "last" else i for i in n.input]
    elif what == "new":
        model.opset_import[0].version = dice.choice((0, 99, 2**31))
    elif what == "format":
        model.ir_version = dice.choice((99, 2**40))
    else:
        graph.node[0].op_type, graph.node[0].domain = dice.choice(
            (("EPContext", "com.microsoft"), ("PyOp", "ai.onnx.contrib"), ("NoSuchOperator", ""))
        )
    path.write_bytes(model.SerializeToString())
    data = path.read_bytes()
    sidecar["files"][0] |= {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    seal(path.with_suffix(".json"), sidecar)
    if what == "neighbours":
        return _averaged(path)
    return refused(path, what)


def _averaged(path: Path) -> str | None:
    from ifseg_rt import Segmenter

    with Segmenter(path, device="cpu", threads=1, refine=(2, 3)) as segmenter:
        segmenter(FRAME)
    return "accepted: neighbours that do not exist"


def _odd_sidecar(dice: random.Random, path: Path, sidecar: dict[str, Any]) -> str | None:
    """Something else where the sidecar, the model or a file of weights should be."""
    target = dice.choice((path.with_suffix(".json"), path.with_suffix(".json"), path))
    other = path.with_suffix(".json") if target == path else path
    seal(path.with_suffix(".json"), sidecar)
    what = dice.choice(
        ("fifo", "zero", "null", "folder", "loop", "large", "nested", "utf16", "twice", "digits", "gone")
    )
    text = target.read_bytes()
    target.unlink()
    if what == "fifo":
        os.mkfifo(target)
    elif what in ("zero", "null"):
        target.symlink_to(f"/dev/{what}")
    elif what == "folder":
        target.mkdir()
    elif what == "loop":
        target.symlink_to(target.name)
    elif what == "large":
        with target.open("wb") as file:
            file.truncate(1 << 34)
    elif what == "nested":
        target.write_text(dice.choice(("[", '{"a":', "[{")) * 100_000)
    elif what == "utf16":
        target.write_bytes(text.decode("utf-8", "replace").encode("utf-16"))
    elif what == "twice":
        target.write_bytes(text[:1] + b'"name": "other", ' + text[1:])
    elif what == "digits":
        target.write_text('{"kind": "ifseg-rt-artifact", "schema_version": ' + "9" * dice.choice((400, 10_000)) + "}")
    if what == "twice" and target != path:
        used(path)  # the last one counts, for the seal and for us
        return None
    return refused(path, f"{what} as {target.name}, beside {other.name}")
