"""How many pictures a model takes per call, as people write it: ``4``, or ``1..4`` for any number between."""

from __future__ import annotations

import re

from ifseg_rt.errors import UsageError

_BATCH = re.compile(r"^(\d+)(?:\.\.(\d+))?$")


def parse_batch(text: str) -> tuple[int | None, int]:
    """Smallest and largest number of pictures; the smallest is ``None`` where the number is fixed.

    Raises:
        UsageError: not a number or a range of numbers from 1 up.
    """
    match = _BATCH.match(text.strip())
    if match is None:
        raise UsageError(f"{text!r} is not a batch", hint="write one number, or SMALLEST..LARGEST such as 1..4")
    first, last = match.groups()
    smallest, largest = (None, int(first)) if last is None else (int(first), int(last))
    check_batch(smallest, largest)
    # 3..3 leaves nothing open.
    return (None if smallest == largest else smallest), largest


def check_batch(smallest: int | None, largest: int) -> None:
    """Refuses numbers of pictures that cannot be meant.

    Raises:
        UsageError: one is below 1, or the range is empty.
    """
    least = largest if smallest is None else smallest
    if least < 1:
        raise UsageError(f"the batch must be at least 1, found {least}")
    if least > largest:
        raise UsageError(f"a batch range goes from the smallest to the largest, found {least}..{largest}")
