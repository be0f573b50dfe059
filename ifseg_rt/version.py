"""The version of this installation and of the packages beside it."""

from __future__ import annotations

from importlib import metadata

_OWN = "ifseg-rt"
_WITHOUT_METADATA = "0.1.0"  # a checkout that was never installed has no metadata to ask


def installed_version(package: str = _OWN) -> str:
    """The version that a package's installation states, ``"unknown"`` where there is none.

    Reading it takes a few milliseconds.
    """
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return _WITHOUT_METADATA if package == _OWN else "unknown"
