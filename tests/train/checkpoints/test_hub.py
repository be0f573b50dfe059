"""The hub: cached repositories are used without a network; without either, the way out is named."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from huggingface_hub import constants
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

from ifseg_rt.errors import CheckpointError
from train import load_model
from train.checkpoints import hub

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def put_into_cache(cache: Path, hub_id: str, files: list[Path]) -> Path:
    """Lays files out as the hub's library caches a repository; returns the folder of its snapshot."""
    repository = cache / ("models--" + hub_id.replace("/", "--"))
    snapshot = repository / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    for file in files:
        shutil.copy(file, snapshot)
    return snapshot


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no network."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path


def test_a_cached_model_loads_without_a_network(cache: Path, weights: Path, bpe: Path):
    put_into_cache(cache, "someone/ofa-mini", list((weights / "ckpt_hf").iterdir()))
    model = load_model("someone/ofa-mini", "sky, road", tokenizer=bpe)
    assert model.vocabulary.names == ("sky", "road")
    assert model.provenance["base"] == "someone/ofa-mini"


def test_an_unreachable_model_names_the_way_out(cache: Path):
    with pytest.raises(CheckpointError, match="cannot download OFA-Sys/ofa-base from the hub: ") as caught:
        load_model("OFA-Sys/ofa-base", "sky")
    assert "pass its path" in (caught.value.hint or "")


def test_an_unreachable_tokenizer_names_the_option(cache: Path, weights: Path):
    with pytest.raises(CheckpointError, match=hub.BART_TOKENIZER) as caught:
        load_model(weights / "ckpt_ofa.pt", "sky")
    assert "--tokenizer FOLDER" in (caught.value.hint or "")


class Hub:
    """Answers like the hub's library, from a folder."""

    def __init__(self, folder: Path, has: dict[str, str]) -> None:
        self.folder = folder
        self.has = has
        self.downloaded: list[str] = []

    def fetch(self, hub_id: str, name: str, *, local_files_only: bool = False) -> str:
        if local_files_only and not (self.folder / name).exists():
            raise LocalEntryNotFoundError("not cached")
        if not local_files_only:
            self.downloaded.append(name)
            (self.folder / name).write_text(self.has[name])
        return str(self.folder / name)

    def ask(self, url: str, **_: object) -> None:
        if url.rpartition("/")[2] not in self.has:
            raise EntryNotFoundError(f"no {url}")


@pytest.mark.parametrize(
    ("weights_in", "names"),
    [
        ({"pytorch_model.bin": "", "unused.bin": ""}, ["pytorch_model.bin"]),
        ({"model.safetensors": "", "pytorch_model.bin": ""}, ["model.safetensors"]),
        (
            {"model.safetensors.index.json": '{"weight_map": {"a": "1.st", "b": "2.st"}}', "1.st": "", "2.st": ""},
            ["model.safetensors.index.json", "1.st", "2.st"],
        ),
    ],
)
def test_what_is_not_cached_is_downloaded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weights_in: dict[str, str], names: list[str]
):
    there = Hub(tmp_path, {"config.json": "{}", **weights_in})
    monkeypatch.setattr("huggingface_hub.hf_hub_download", there.fetch)
    monkeypatch.setattr("huggingface_hub.get_hf_file_metadata", there.ask)
    for _ in range(2):
        assert hub.download_model("someone/ofa-mini") == tmp_path
    assert there.downloaded == ["config.json", *names]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("OFA-Sys/ofa-base", True),
        ("facebook/bart-base", True),
        ("micro", False),
        ("weights/ckpt.pt", False),
        ("./ofa-base", False),
        ("a/b/c", False),
        ("/ofa/base", False),
        ("~/base", False),
        ("ofa/model.safetensors", False),
        ("tests/ofa-base", False),
    ],
)
def test_form_of_a_hub_id(text: str, expected: bool):
    assert hub.is_hub_id(text) is expected
