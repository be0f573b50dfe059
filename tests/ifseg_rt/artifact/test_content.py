"""What is loaded is what was hashed, and nothing that no hash is of."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
from onnx.external_data_helper import convert_model_to_external_data

from ifseg_rt import Segmenter
from ifseg_rt.artifact.graph_file import NoGraphError, outline
from ifseg_rt.artifact.sidecar import file_record, open_artifact, read_artifact, sidecar_path, write_artifact
from ifseg_rt.backends.onnx_runtime.host_network import session_or_error
from ifseg_rt.errors import ArtifactError, DeviceError


@pytest.fixture
def in_two_files(own_model: Path) -> Path:
    """A model whose weights are in a file of their own, which its sidecar lists."""
    model = onnx.load(own_model)
    convert_model_to_external_data(model, location="model.onnx.data", size_threshold=70)
    onnx.save(model, own_model)
    list_files(own_model, own_model, own_model.with_name("model.onnx.data"))
    return own_model


def list_files(model: Path, *files: Path) -> None:
    artifact = msgspec.json.decode(sidecar_path(model).read_bytes())
    artifact["files"] = [msgspec.to_builtins(file_record(file)) for file in files]
    from ifseg_rt.artifact.schema import Artifact

    write_artifact(msgspec.convert(artifact, Artifact), sidecar_path(model))


def test_weights_in_a_file_of_their_own(in_two_files: Path, scene: np.ndarray) -> None:
    with Segmenter(in_two_files, device="cpu", threads=1) as segmenter:
        assert set(np.unique(segmenter(scene).labels)) == {0, 1, 2}
    data = in_two_files.with_name("model.onnx.data")
    data.write_bytes(bytes([data.read_bytes()[0] ^ 1]) + data.read_bytes()[1:])
    with pytest.raises(ArtifactError, match="expected SHA-256"):
        read_artifact(in_two_files)


def test_weights_that_the_sidecar_does_not_list_are_refused(in_two_files: Path) -> None:
    list_files(in_two_files, in_two_files)
    with pytest.raises(ArtifactError, match=r"model\.onnx\.data.*does not list"):
        Segmenter(in_two_files, device="cpu")


def test_a_file_that_is_replaced_while_it_is_opened(in_two_files: Path) -> None:
    opened = open_artifact(in_two_files)
    data = in_two_files.with_name("model.onnx.data")
    other = data.with_name("other")
    other.write_bytes(bytes(data.stat().st_size))
    other.replace(data)
    with pytest.raises(ArtifactError, match="was changed while"):
        session_or_error(opened.content, opened.artifact, ["CPUExecutionProvider"], 1)


def test_a_graph_that_is_replaced_after_it_was_verified_is_not_read_again(own_model: Path, scene: np.ndarray) -> None:
    opened = open_artifact(own_model)
    own_model.write_bytes(b"something else")
    assert session_or_error(opened.content, opened.artifact, ["CPUExecutionProvider"], 1).get_inputs()


def test_an_operator_set_of_the_future_is_said_in_words(own_model: Path) -> None:
    model = onnx.load(own_model)
    model.opset_import[0].version = 99
    own_model.write_bytes(model.SerializeToString())
    list_files(own_model, own_model)
    with pytest.raises(DeviceError, match="written in operator set 99") as caught:
        Segmenter(own_model, device="cpu")
    assert "ONNXRuntimeError" not in str(caught.value)


def test_the_outline_of_a_graph(own_model: Path) -> None:
    found = outline(own_model.read_bytes())
    assert (found.ir_version, found.opset, found.external) == (8, 17, frozenset())
    assert {"Conv", "TopK"} <= found.operators
    for spoiled in (b"", b"\x08", b"text, not a graph", own_model.read_bytes()[:-1]):
        with pytest.raises(NoGraphError):
            outline(spoiled)
