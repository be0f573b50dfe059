"""The default colour of category ``i``: distinct, and the same in every release.

The table was made once by farthest-point choice in CIE Lab (the first 64 entries among saturated colours of medium
lightness; any two of the first 24 are at least 33 units apart, any two of all 256 at least 12), then frozen as data.
"""

from __future__ import annotations

_TABLE = bytes.fromhex(
    "3cb44b 0000ff ff0000 0087d2 ff1eb4 ffc300 783c00 00ffff 00ff00 5a2da5 ff8796 f0a5ff c3f000 e100ff e1e187 87004b "
    "3c5a00 ff873c ff005a 0078ff a5871e a5000f 00ffb4 00875a 784bff d25ae1 87a500 78ff69 8769b4 d25aa5 a5f0a5 ffb478 "
    "960087 ff5a4b 004ba5 b43c4b c3f069 e11e78 00c3ff a587ff 9600c3 69c300 00c3a5 e1785a 69964b f0e14b b46900 1e7800 "
    "96a5ff ff0fe1 692d78 9600ff e14b00 f0c35a 96ff00 f09600 004be1 695a00 00d200 78ffd2 3c00d2 78f087 ff96d2 a569ff "
    "4b4b4b d2d2d2 008796 a58769 8787a5 1e4b78 965a69 ffd2ff 87b496 1e4b2d 78d2e1 b4d2ff ffc3b4 694b2d f0e1b4 5a3c5a "
    "d296b4 782d2d 69785a c3f0d2 a5a569 004b5a ff5a78 ff78e1 964bb4 a53c00 789696 96c35a c3a5e1 a5693c b4a500 00ff87 "
    "007869 005a1e b40078 69a5d2 d28787 e1001e 2d87f0 78871e 873c69 c300b4 f0f000 877878 c3003c 695ac3 0fb4b4 b4d296 "
    "c34b78 ff69a5 5ab478 00a500 87f0e1 c3965a b4b44b c34bff c378c3 0078a5 00d24b 966996 c3a5a5 3cd287 6978b4 c3b4d2 "
    "78783c 69b4ff 00ff5a 5a1ec3 4b3c78 00964b 87e15a e1963c 5aa51e 962d1e c3b496 004bc3 965a4b b4d21e e19678 4b4b1e "
    "e187ff 00e1ff 870f69 871ea5 c34bb4 003cff ff7800 00b4d2 e1c378 e15a5a a5f03c 4b6978 ffb4c3 875a00 b4f0f0 4ba587 "
    "693c3c 69ff3c f04bd2 e13ca5 f05aff 695ae1 87d2a5 d278a5 d2692d 5a5a78 b40f5a ff0f96 871e3c b4f087 5a875a 96a5e1 "
    "f0c396 c39600 ffe11e 964b96 c3d24b 6978d2 d24b2d a5c3d2 ffe1d2 873cd2 871ee1 5a8700 691e87 69b45a ffd2e1 d2874b "
    "b45a4b b487e1 4b3c96 2d69b4 d21ee1 87693c a5b4a5 1ed269 a54b5a ff9687 3c5a4b ffb4f0 e1e1ff c31e00 78ffb4 5a87a5 "
    "785a69 00e1b4 ff4b2d 5aa5b4 96b469 96002d 96d2c3 87c32d d26978 e12d3c 2de1d2 695a4b ffb43c c3c30f 2d2db4 ff785a "
    "3c782d ff0078 78e100 6987ff e17800 00ffe1 784b87 969678 d23c87 b40ff0 b469e1 96782d 4b692d 78d2ff a55a1e ffd24b "
    "ff78ff 694b0f 002dd2 783c1e e1005a a57878 692dff 6900a5 1e6969 5a9687 e14b78 c3d2b4 e1f04b 2d69d2 e1d25a d20fa5 "
)
_ENTRIES = len(_TABLE) // 3


def color_for(index: int) -> tuple[int, int, int]:
    """RGB colour (0..255 each) of category ``index``.

    Raises:
        ValueError: ``index`` is negative.
    """
    if index < 0:
        raise ValueError(f"a category index is at least 0, found {index}")
    if index < _ENTRIES:
        red, green, blue = _TABLE[3 * index : 3 * index + 3]
        return red, green, blue
    # An odd factor permutes the 2^24 colours, so no two of these are equal; this one spreads them (golden ratio).
    code = index * 0x9E3779 % (1 << 24)
    return code >> 16, code >> 8 & 255, code & 255
