"""--categories: a model is made in child processes, kept, and made again only when something changed."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from ifseg_rt.artifact.sidecar import read_artifact
from ifseg_rt.categories import WantedCategory, are_those_of, parse_categories, read_categories
from ifseg_rt.cli import make_model as words
from ifseg_rt.cli.console import Console
from ifseg_rt.cli.main import main
from ifseg_rt.errors import IfsegError

ADAPT = """
import argparse, json, pathlib, sys
parser = argparse.ArgumentParser()
for option in ("--base", "--categories-file", "--out", "--steps", "--batch-size", "--seed"):
    parser.add_argument(option, required=True)
options = parser.parse_args()
log = pathlib.Path(__file__).parents[1] / "calls.txt"
with log.open("a") as file:
    file.write(json.dumps(vars(options)) + "\\n")
text = pathlib.Path(options.categories_file).read_text()
print("step 1, loss 0.5", file=sys.stderr)
if "quokka" in text:
    print("error: the word 'quokka' is unknown", file=sys.stderr)
    print("hint: did you mean 'dog'?", file=sys.stderr)
    sys.exit(8)
if "crash" in text:
    raise RuntimeError("bad weather")
if "abort" in text:
    import os
    os.abort()
pathlib.Path(options.out).write_text(text)
print("done")
"""
EXPORT = """
import hashlib, json, pathlib, shutil, sys
arguments = sys.argv[1:]
checkpoint, model, size = pathlib.Path(arguments[0]), pathlib.Path(arguments[2]), arguments[4]
assert (arguments[1], arguments[3]) == ("-o", "--size")
if "unexportable" in checkpoint.read_text():
    print("error: parity failed", file=sys.stderr)
    sys.exit(6)
root = pathlib.Path(__file__).parents[1]
shutil.copy(root / "ready" / "model.onnx", model)
told = json.loads((root / "ready" / "model.json").read_text())
told.pop("integrity")
asked = json.loads(checkpoint.read_text())
height, width = map(int, size.split("x"))
colors = [[9, 9, index] for index in range(len(asked))]
told["categories"] = [
    {"name": c["name"], "synonyms": c["synonyms"], "color": c["color"] or color} for c, color in zip(asked, colors)
]
told["preprocess"] |= {"height": height, "width": width}
told["inputs"][0]["shape"][2:] = [height, width]
told["outputs"][0]["shape"][1] = told["outputs"][1]["shape"][2] = len(asked)
told["provenance"]["base_sha256"] = hashlib.sha256((root / "train" / "assets" / "micro.pt").read_bytes()).hexdigest()
text = json.dumps(told, sort_keys=True, separators=(",", ":"))
told["integrity"] = hashlib.sha256(text.encode()).hexdigest()
model.with_suffix(".json").write_text(json.dumps(told))
print("exported", size, file=sys.stderr)
print("a result")
"""


@pytest.fixture
def training_side(
    tmp_path: Path, make_artifact: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, scene: np.ndarray
) -> Path:
    """Stand-ins for train and export which make no real model, and an empty cache."""
    root = tmp_path / "root"
    for package, module, code in (("train", "adapt.py", ADAPT), ("export", "to_onnx.py", EXPORT)):
        (root / package).mkdir(parents=True)
        (root / package / "__init__.py").write_text("")
        (root / package / module).write_text(code)
        monkeypatch.delitem(sys.modules, package, raising=False)
    (root / "train" / "assets").mkdir()
    (root / "train" / "assets" / "micro.pt").write_bytes(b"base")
    make_artifact(root / "ready")
    monkeypatch.syspath_prepend(root)
    monkeypatch.setattr(words, "_NEEDED", {})
    monkeypatch.setenv(words.CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.chdir(tmp_path)
    cv2.imwrite("scene.png", scene)
    return root


def calls(root: Path) -> list[dict[str, Any]]:
    log = root / "calls.txt"
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def test_made_once_and_kept(training_side: Path, capfd: pytest.CaptureFixture[str]) -> None:
    arguments = ["scene.png", "--categories", "red, green,  blue   thing , dark", "--size", "64x96"]
    assert main(arguments) == 0
    out, err = capfd.readouterr()
    assert [json.loads(line)["source"] for line in out.splitlines()] == ["scene.png"]
    assert "1/2 adapting" in err
    assert "    step 1, loss 0.5" in err
    assert "2/2 exporting it for pictures of 64 x 96" in err
    assert "    exported 64x96" in err
    assert "a result" not in out + err
    (call,) = calls(training_side)
    assert (call["base"], call["steps"], call["seed"]) == ("micro", str(words.QUICK_STEPS), "0")
    (folder,) = [path for path in (training_side.parent / "cache" / "models").iterdir() if path.is_dir()]
    assert sorted(path.name for path in folder.iterdir()) == ["categories.json", "model.json", "model.onnx"]
    assert read_categories(folder / "categories.json") == parse_categories("red, green, blue thing, dark")

    assert main(arguments) == 0
    assert "using the model made for these categories before" in capfd.readouterr().err
    assert len(calls(training_side)) == 1


def test_everything_that_matters_makes_a_new_model(training_side: Path) -> None:
    console = Console(quiet=True)
    categories = parse_categories("red, green")
    paths = {words.model_for_categories(categories, console)}
    paths.add(words.model_for_categories(categories[::-1], console))
    paths.add(words.model_for_categories((WantedCategory("red", ("crimson",)), categories[1]), console))
    paths.add(words.model_for_categories((WantedCategory("red", (), (1, 2, 3)), categories[1]), console))
    paths.add(words.model_for_categories(categories, console, size=(64, 64)))
    paths.add(words.model_for_categories(categories, console, steps=7))
    (training_side / "train" / "assets" / "micro.pt").write_bytes(b"other base")
    paths.add(words.model_for_categories(categories, console))
    (training_side / "export" / "more.py").write_text("x = 1\n")
    paths.add(words.model_for_categories(categories, console))
    assert len(paths) == 8
    assert len(calls(training_side)) == 8
    assert words.model_for_categories(categories, console) in paths
    assert len(calls(training_side)) == 8


def test_damaged_cache_is_made_again(training_side: Path, capfd: pytest.CaptureFixture[str]) -> None:
    console = Console(quiet=True)
    path = words.model_for_categories(parse_categories("red"), console)
    path.write_bytes(b"damaged")
    assert words.model_for_categories(parse_categories("red"), console) == path
    assert read_artifact(path)
    assert "is damaged and is made again" in capfd.readouterr().err
    leftover = path.parent.with_name(path.parent.name + ".part-killed")
    leftover.mkdir()
    path.unlink()
    words.model_for_categories(parse_categories("red"), console)
    assert not leftover.exists()


@pytest.mark.parametrize(
    ("name", "code", "message", "hint"),
    [
        ("quokka", 8, "error: the word 'quokka' is unknown", "hint: did you mean 'dog'?"),
        ("unexportable", 6, "error: parity failed", None),
        ("crash", 1, "error: the adaptation failed with exit code 1: RuntimeError: bad weather", "hint: run it alone"),
        ("abort", 1, "error: the adaptation was ended by signal 6", None),
    ],
)
def test_failing_children(
    training_side: Path, capfd: pytest.CaptureFixture[str], name: str, code: int, message: str, hint: str | None
) -> None:
    assert main(["scene.png", "--categories", name]) == code
    out, err = capfd.readouterr()
    assert out == ""
    assert message in err
    assert sum(line.startswith("error: ") for line in err.splitlines()) == 1
    assert hint is None or hint in err
    left = [path for path in (training_side.parent / "cache" / "models").iterdir() if path.is_dir()]
    assert left == []


def test_a_file_named_train_in_the_users_folder_does_not_disturb(training_side: Path) -> None:
    Path("train.py").write_text("raise SystemExit('wrong train')")
    assert main(["scene.png", "--categories", "red, green, blue, dark", "--size", "64x96", "--quiet"]) == 0


def test_without_the_training_side(training_side: Path, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (training_side / "train" / "adapt.py").unlink()
    assert main(["scene.png", "--categories", "red"]) == 1
    assert 'hint: pip install "ifseg-rt[train,export]"' in capfd.readouterr().err


def test_without_torch(training_side: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words, "_NEEDED", {"train": ("no_such_torch",)})
    with pytest.raises(IfsegError, match="needs: no_such_torch") as caught:
        words.model_for_categories(parse_categories("red"), Console(quiet=True))
    assert "ifseg-rt[train,export]" in str(caught.value.hint)


def test_the_shipped_model_is_used_where_it_fits(training_side: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shipped = training_side / "ready" / "model.onnx"
    monkeypatch.setattr(words, "default_model_path", lambda: shipped)
    wanted = (WantedCategory("red", ("crimson",)), *parse_categories("green, blue thing, dark"))
    assert words.model_for_categories(wanted, Console(quiet=True)) == shipped
    assert not calls(training_side)
    assert words.model_for_categories(wanted[:3], Console(quiet=True)) != shipped
    assert words.model_for_categories(wanted, Console(quiet=True), steps=3) != shipped


def test_two_at_once_make_one_model(training_side: Path) -> None:
    paths: list[Path] = []
    threads = [
        threading.Thread(
            target=lambda: paths.append(words.model_for_categories(parse_categories("dark"), Console(quiet=True)))
        )
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert len(paths) == 3
    assert len(set(paths)) == 1
    assert len(calls(training_side)) == 1


def test_an_unusable_cache_folder_gives_way_to_a_temporary_one(
    training_side: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv(words.CACHE_VARIABLE, str(tmp_path / "file" / "cache"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    console = Console(quiet=True)
    first = words.model_for_categories(parse_categories("red"), console)
    assert first.is_relative_to(tmp_path / "tmp")
    assert words.model_for_categories(parse_categories("red"), console) == first
    assert len(calls(training_side)) == 1
    assert caplog.text.count("cannot be used") == 1


def test_a_kept_model_is_only_used_for_what_it_is(training_side: Path, capfd: pytest.CaptureFixture[str]) -> None:
    console = Console(quiet=True)
    red = words.model_for_categories(parse_categories("red"), console)
    for other in (
        words.model_for_categories(parse_categories("sky"), console),
        words.model_for_categories(parse_categories("red"), console, size=(64, 96)),
    ):
        for name in ("model.onnx", "model.json"):
            (red.parent / name).write_bytes((other.parent / name).read_bytes())
        assert words.model_for_categories(parse_categories("red"), console) == red
        artifact = read_artifact(red)
        assert artifact.category_names == ("red",) and artifact.preprocess.height == words.DEFAULT_SIZE[0]
    assert len(calls(training_side)) == 5
    assert "made again" in capfd.readouterr().err


def test_comparison_with_a_model(model_path: Path) -> None:
    artifact = read_artifact(model_path)
    wanted = (WantedCategory("red", ("crimson",), (255, 0, 0)), *parse_categories("green, blue thing, dark"))
    assert are_those_of(wanted, artifact)
    assert not are_those_of(wanted[::-1], artifact)
    assert not are_those_of((WantedCategory("red", ("crimson",), (254, 0, 0)), *wanted[1:]), artifact)
    assert not are_those_of((WantedCategory("red"), *wanted[1:]), artifact)
