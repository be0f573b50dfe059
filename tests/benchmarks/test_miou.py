"""The quality command on a model whose answers are known, through the real run time."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks import miou
from benchmarks.making import product
from benchmarks.quality.models import averagings_of, check_categories
from ifseg_rt.errors import IfsegError, UsageError


def test_a_finished_model_is_scored_with_refinement_off_and_on(
    color_model: Path, color_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, sheet, tables = tmp_path / "a" / "miou.json", tmp_path / "b" / "sheet.png", tmp_path / "c" / "miou.md"
    options = ["--dataset", color_set, "--model", color_model, "--json", out, "--sheet", sheet, "--markdown", tables]
    assert miou.main([str(option) for option in options]) == 0

    record = json.loads(out.read_text())
    assert [(row["model"], row["refined"]) for row in record["rows"]] == [("colors", False), ("colors", True)]
    for row in record["rows"]:
        assert row["pixels"] == 3 * (64 * 64 - 16 * 4)
        assert row["miou"] > 0.98  # the border between two patches is up-sampled, the rest is exact
    assert [row["refinement"] for row in record["rows"]] == [None, [1, 1]]
    assert record["categories"] == ["red", "green", "blue"]
    assert record["machine"]["cores"] >= 1
    assert (record["size"], record["models"]["colors"]["parity"]["pictures"]) == ("64x64", 0)

    table = capsys.readouterr().out
    assert table.startswith("colors: 3 pictures, model colors.onnx")
    assert "Labels: the values of meta.json: 0, 1, 2, 255." in table
    assert "| colors | 1 neighbours, 1 rounds |" in table
    assert "| blue |" in table
    assert tables.read_text() == table
    picture = cv2.imread(str(sheet))
    assert picture.shape[1] == 4 * 320
    assert np.unique(picture.reshape(-1, 3), axis=0).shape[0] > 3


def test_mistakes_are_listed(
    color_model: Path, color_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One picture's right half is labelled blue and is green; a quarter of its height is not counted there."""
    truth = np.zeros((64, 64), np.uint8)
    truth[:, 32:] = 2
    truth[:16, 32:] = 255
    cv2.imwrite(str(color_set / "labels" / "0.png"), truth)
    out = tmp_path / "miou.json"
    assert miou.main(["--dataset", str(color_set), "--model", str(color_model), "--json", str(out)]) == 0
    found = json.loads(out.read_text())["rows"][-1]["mistakes"]
    blue = 48 * 32 + 2 * (64 * 32 - 16 * 4)
    assert found == [{"truth": "blue", "prediction": "green", "pixels": 48 * 32, "share": 48 * 32 / blue}]
    table = capsys.readouterr().out
    assert "| mistakes of colors, refined | of the class | of all pixels |" in table
    assert f"| blue taken for green | {100 * 48 * 32 / blue:.1f} |" in table


def test_words_go_through_adapt_and_export(
    color_model: Path,
    color_set: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The two commands are replaced by copies of the known model; what they were asked to do is recorded."""
    asked: list[tuple[str, list[str]]] = []

    def run(module: str, arguments: list[str]) -> None:
        asked.append((module, arguments))
        if module == "export.to_onnx":
            target = Path(arguments[arguments.index("-o") + 1])
            target.write_bytes(color_model.read_bytes())
            target.with_suffix(".json").write_bytes(color_model.with_suffix(".json").read_bytes())

    monkeypatch.setattr(product, "run_step", run)
    options = ["--dataset", color_set, "--steps", 7, "--size", "64", "--limit", 2, "--keep", tmp_path / "made"]
    assert miou.main([str(option) for option in options]) == 0
    assert [module for module, _ in asked] == ["train.adapt", "export.to_onnx"] * 2
    steps = [arguments[arguments.index("--steps") + 1] for module, arguments in asked if module == "train.adapt"]
    assert steps == ["0", "7"]
    assert (tmp_path / "made" / "names.txt").read_text() == "red\ngreen\nblue\n"
    table = capsys.readouterr().out
    assert "2 pictures of 3, names of the set, base micro, steps 7, input 64x64" in table
    assert "| adapted | off |" in table
    assert "| adapted | 1 neighbours, 1 rounds |" in table
    assert "| un-adapted, refined | adapted | adapted, refined |" in table


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--dataset", "nowhere"], 3, "there is no folder nowhere"),
        (["--dataset", "voc"], 2, "voc needs --root"),
        (["--dataset", "voc", "--root", "nowhere"], 3, "there is no folder nowhere"),
        (["--dataset", "SET", "--model", "nowhere.onnx"], 4, "nowhere.onnx"),
        (["--dataset", "SET", "--names", "nowhere.txt"], 3, "nowhere.txt"),
    ],
)
def test_errors_are_one_line_and_an_exit_code(
    options: list[str], code: int, message: str, color_set: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert miou.main([str(color_set) if option == "SET" else option for option in options]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert message in captured.err
    assert "Traceback" not in captured.err


def test_too_few_categories_are_refused(color_model: Path, color_set: Path, capsys: pytest.CaptureFixture[str]) -> None:
    meta = json.loads((color_set / "meta.json").read_text())
    meta["classes"]["3"] = "grey"
    (color_set / "meta.json").write_text(json.dumps(meta))
    assert miou.main(["--dataset", str(color_set), "--model", str(color_model)]) == 2
    assert "3 categories, the set has 4 classes" in capsys.readouterr().err


def test_the_refinement_is_what_is_asked_for(
    color_model: Path, color_set: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--dataset", str(color_set), "--model", str(color_model)]
    assert miou.main([*options, "--refine", "off"]) == 0
    assert "| colors | off |" in (table := capsys.readouterr().out)
    assert "refined" not in table
    assert miou.main([*options, "--refine", "1,4", "--mistakes", "0"]) == 0
    assert "| colors | 1 neighbours, 4 rounds |" in (table := capsys.readouterr().out)
    assert "mistakes" not in table
    assert miou.main([*options, "--refine", "2,4"]) == 2
    assert "1 to 1 neighbours" in capsys.readouterr().err


def test_refinement_settings() -> None:
    assert averagings_of(None, (3, 25)) == (None, (3, 25))
    assert averagings_of("off", (3, 25)) == (None,)
    assert averagings_of("5,0", (3, 25)) == (None, (5, 0))
    for text in ("3", "3,x", "0,3", "3,-1", "on"):
        with pytest.raises(UsageError, match="--refine"):
            averagings_of(text, (3, 25))


def test_categories_in_another_order_are_refused() -> None:
    check_categories("model", ["sky", "street", "Car"], ["sky", "road", "car"])
    with pytest.raises(UsageError, match="category 1 is 'road', in the set that is class 2"):
        check_categories("model", ["road", "sky"], ["sky", "road"])


def test_names_that_are_too_few_are_refused_before_anything_is_made(
    color_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(product, "run_step", lambda *_: pytest.fail("something was made"))
    names = tmp_path / "names.txt"
    names.write_text("red\ngreen\n")
    assert miou.main(["--dataset", str(color_set), "--names", str(names)]) == 2
    assert "names 2 categories, the set has 3 classes" in capsys.readouterr().err


def test_options_reach_the_adaptation(
    color_model: Path, color_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, list[str]]] = []

    def run(module: str, arguments: list[str]) -> None:
        asked.append((module, arguments))
        if module == "export.to_onnx":
            target = Path(arguments[arguments.index("-o") + 1])
            target.write_bytes(color_model.read_bytes())
            target.with_suffix(".json").write_bytes(color_model.with_suffix(".json").read_bytes())

    monkeypatch.setattr(product, "run_step", run)
    options = ["--base", "ofa_base.pt", "--tokenizer", str(tmp_path), "--seed", "3", "--adapted-only"]
    assert miou.main(["--dataset", str(color_set), *options]) == 0
    assert [module for module, _ in asked] == ["train.adapt", "export.to_onnx"]
    adapted = asked[0][1]
    assert adapted[adapted.index("--tokenizer") + 1] == str(tmp_path)
    assert adapted[adapted.index("--seed") + 1] == "3"
    assert "--steps" not in adapted  # the published number is the command's own default


def test_an_exported_model_has_one_size(color_model: Path, color_set: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert miou.main(["--dataset", str(color_set), "--model", str(color_model), "--resize", "short"]) == 2
    assert "has one input size" in capsys.readouterr().err


def test_a_failing_step_gives_its_own_exit_code() -> None:
    with pytest.raises(IfsegError, match=r"no_such_module ended with exit code 1") as caught:
        product.run_step("benchmarks.no_such_module", [])
    assert caught.value.exit_code == 1
