"""Which kinds of faults there are, and how many of each make a thousand."""

from __future__ import annotations

from collections.abc import Callable

from tests.faults.bench import Bench
from tests.faults.kinds import corruption, dimensions, disk, interruptions, names, neighbours, servers, streams

# name -> (how many in a run of 1000 faults, what it does)
KINDS: dict[str, tuple[int, Callable[[Bench], None]]] = {
    **corruption.KINDS,
    **dimensions.KINDS,
    **disk.KINDS,
    **streams.KINDS,
    **interruptions.KINDS,
    **names.KINDS,
    **neighbours.KINDS,
    **servers.KINDS,
}


def counts(faults: int) -> dict[str, int]:
    """How many faults of each kind: the damaged files make ``faults`` together, everything else comes on top."""
    return {name: max(1, round(share * faults / 1000)) for name, (share, _) in KINDS.items()}
