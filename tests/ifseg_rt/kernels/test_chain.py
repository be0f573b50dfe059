"""All kernels in a row on the shipped model and picture: the same probabilities and labels as on the host."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

import ifseg_rt
from ifseg_rt.artifact.sidecar import read_artifact
from ifseg_rt.host.preprocess import Preprocessor
from ifseg_rt.kernels.launches import plan_labels, plan_preprocess, plan_refine, plan_softmax
from ifseg_rt.upsampling.labels import upsample_labels

ASSETS = Path(ifseg_rt.__file__).parent / "assets"


def test_the_shipped_model(machine) -> None:
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    artifact = read_artifact(ASSETS / "micro.onnx")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    session = runtime.InferenceSession(str(ASSETS / "micro.onnx"), options, providers=["CPUExecutionProvider"])
    frame = cv2.imread(str(ASSETS / "sample.jpg"))
    height, width = frame.shape[:2]
    spec, (grid_h, grid_w), settings = artifact.preprocess, artifact.grid, artifact.refinement

    image = machine.put(np.zeros((3, spec.height, spec.width), dtype=np.float32))
    machine.launch(
        plan_preprocess(
            machine.put(frame),
            height,
            width,
            3 * width,
            swap=spec.color == "rgb",
            out=image,
            out_height=spec.height,
            out_width=spec.width,
            mean=spec.mean,
            std=spec.std,
            half=False,
        )
    )
    prepared = machine.get(image, (1, 3, spec.height, spec.width), np.float32)
    np.testing.assert_array_equal(prepared, Preprocessor(spec)(frame, "bgr"))

    expected, logits, neighbours = session.run(["probabilities", "logits", "neighbours"], {"image": prepared})
    _, n, classes = logits.shape
    scores, indices = machine.put(logits[0]), machine.put(neighbours[0].astype(np.int32))
    first, planes = (machine.put(np.zeros((classes, n), dtype=np.float32)) for _ in range(2))
    machine.launch(plan_softmax(scores, n, classes, planes=first))
    machine.launch(
        plan_refine(
            first,
            indices,
            n,
            classes,
            neighbours.shape[2],
            settings.neighbours,
            settings.rounds,
            out=planes,
            shared_limit=machine.shared_limit,
        )
    )
    refined = machine.get(planes, (classes, grid_h, grid_w), np.float32)
    np.testing.assert_allclose(refined, expected[0], atol=1e-5)

    labels = machine.put(np.zeros((height, width), dtype=np.uint8))
    machine.launch(plan_labels(planes, classes, grid_h, grid_w, labels=labels, height=height, width=width, wide=False))
    found = machine.get(labels, (height, width), np.uint8)
    assert len(np.unique(found)) > 1
    assert (found != upsample_labels(refined, height, width)).mean() < 1e-4
