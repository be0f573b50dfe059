"""What native libraries print is hidden where we ask for it, and only there."""

from __future__ import annotations

import os

import pytest

from ifseg_rt.native_noise import native_noise_hidden


def test_noise_is_hidden_only_inside(capfd: pytest.CaptureFixture[str]) -> None:
    with native_noise_hidden():
        os.write(2, b"noise")
    os.write(2, b"speech")
    assert capfd.readouterr().err == "speech"
