"""The version of this installation."""

from __future__ import annotations

from importlib import metadata

_WITHOUT_METADATA = "0.1.0"  # a checkout that was never installed has no metadata to ask


def installed_version(package: str = "ifseg-rt") -> str:
    """The version that the installation states; reading it takes a few milliseconds."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return _WITHOUT_METADATA
