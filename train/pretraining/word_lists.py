"""Which words the labels of the pre-training sets stand for.

A label rarely means exactly one word: IDD-lite's class 5 is "far objects (building, vegetation, bridge)". Every
label value therefore maps to a *set* of words, and the loss asks only that the probability falls on the set
(:mod:`train.pretraining.loss`), so that the sets which name one word decide between the words of the others.
"""

from __future__ import annotations

MSRC: dict[int, tuple[str, ...]] = {
    0: ("building", "house"),
    1: ("grass",),
    2: ("tree",),
    3: ("cow",),
    4: ("horse",),
    5: ("sheep",),
    6: ("sky",),
    7: ("mountain",),
    8: ("airplane",),
    9: ("water", "river", "sea"),
    10: ("face", "person"),
    11: ("car",),
    12: ("bicycle",),
    13: ("flower",),
    14: ("sign", "traffic sign"),
    15: ("bird",),
    16: ("book",),
    17: ("chair",),
    18: ("road", "pavement"),
    19: ("cat",),
    20: ("dog",),
    21: ("body", "person"),
    22: ("boat",),
}

LABELME_FACADE: dict[int, tuple[str, ...]] = {
    0: ("building", "house"),
    1: ("car",),
    2: ("door",),
    3: ("pavement",),
    4: ("road",),
    5: ("sky",),
    6: ("tree", "vegetation", "bush", "grass"),
    7: ("window",),
}

# Values from 20 on are made by train.pretraining.data from the shape of the components (see there).
IDD_POLE, IDD_CYCLIST, IDD_TWO_WHEELER = 20, 21, 22
IDD_LITE: dict[int, tuple[str, ...]] = {
    0: ("road",),
    1: ("pavement", "dirt", "grass", "gravel", "field"),
    2: ("person",),
    3: ("car", "truck", "bus", "motorcycle", "bicycle", "auto rickshaw", "vehicle"),
    4: ("wall", "fence", "traffic sign", "sign", "billboard"),
    5: ("building", "house", "tree", "vegetation", "bush", "bridge"),
    6: ("sky",),
    IDD_POLE: ("pole",),
    IDD_CYCLIST: ("cyclist", "person"),
    IDD_TWO_WHEELER: ("motorcycle", "bicycle", "vehicle"),
}

# COCO panoptic names that mean more, or something else, than their words; every other name stands for itself
# without its "-merged", "-other" or "-stuff" ending.
COCO_NAMES: dict[str, tuple[str, ...]] = {
    "car": ("car", "vehicle"),
    "bus": ("bus", "vehicle"),
    "truck": ("truck", "vehicle"),
    "bear": ("bear", "animal"),
    "potted plant": ("potted plant", "plant"),
    "dining table": ("dining table", "table"),
    "stop sign": ("stop sign", "traffic sign", "sign"),
    "floor-wood": ("wood floor", "floor"),
    "wall-brick": ("brick wall", "wall"),
    "wall-stone": ("stone wall", "wall"),
    "wall-tile": ("tile wall", "wall"),
    "wall-wood": ("wood wall", "wall"),
    "window-blind": ("blind", "window"),
    "playingfield": ("playing field", "field"),
    "house": ("house", "building"),
    "roof": ("roof", "building"),
    "sea": ("sea", "water"),
    "river": ("river", "water"),
    "tree-merged": ("tree", "vegetation", "bush"),
    "building-other-merged": ("building",),
    "banner": ("banner", "billboard"),
}

# One spelling -> the word that carries the embedding.
ALIASES: dict[str, str] = {
    "street": "road",
    "sidewalk": "pavement",
    "footpath": "pavement",
    "plane": "airplane",
    "aeroplane": "airplane",
    "motorbike": "motorcycle",
    "bike": "bicycle",
    "sofa": "couch",
    "television": "tv",
    "tv monitor": "tv",
    "automobile": "car",
    "pedestrian": "person",
    "people": "person",
    "human": "person",
    "man": "person",
    "woman": "person",
    "bicyclist": "cyclist",
    "rider": "cyclist",
    "motorcyclist": "cyclist",
    "lawn": "grass",
    "sign symbol": "traffic sign",
    "road sign": "traffic sign",
    "carpet": "rug",
    "ship": "boat",
    "cell phone": "cell phone",
    "mobile phone": "cell phone",
    "phone": "cell phone",
    "fridge": "refrigerator",
    "hill": "mountain",
    "lorry": "truck",
    "ocean": "sea",
    "soil": "dirt",
    "earth": "dirt",
    "stone": "rock",
    "windowpane": "window",
    "playingfield": "playing field",
    "lamp post": "pole",
    "utility pole": "pole",
    "shrub": "bush",
    "wooden floor": "wood floor",
    "plants": "plant",
    "trees": "tree",
    "cars": "car",
}

# ImageNet class indices (inclusive ranges) -> the everyday word they also stand for.
IMAGENET_HYPERNYMS: dict[str, tuple[tuple[int, int], ...]] = {
    "dog": ((151, 268),),
    "cat": ((281, 285),),
    "bird": ((7, 24), (80, 100), (127, 146)),
    "fish": ((0, 6), (389, 397)),
    "snake": ((52, 68),),
    "insect": ((300, 326),),
    "monkey": ((365, 384),),
    "bear": ((294, 297),),
    "elephant": ((385, 386),),
    "zebra": ((340, 340),),
    "horse": ((339, 339),),
    "cow": ((345, 345),),
    "sheep": ((348, 349),),
    "car": (
        (407, 407),
        (436, 436),
        (468, 468),
        (511, 511),
        (609, 609),
        (627, 627),
        (656, 656),
        (661, 661),
        (751, 751),
        (817, 817),
    ),
    "truck": ((555, 555), (569, 569), (675, 675), (717, 717), (734, 734), (864, 864), (867, 867)),
    "bus": ((654, 654), (779, 779), (874, 874)),
    "boat": ((472, 472), (554, 554), (576, 576), (625, 625), (780, 780), (814, 814), (871, 871), (914, 914)),
    "airplane": ((404, 404), (895, 895)),
    "bicycle": ((444, 444), (671, 671)),
    "motorcycle": ((665, 665), (670, 670)),
    "train": ((466, 466), (547, 547), (820, 820)),
    "fence": ((489, 489), (716, 716), (912, 912)),
    "pole": ((557, 557), (733, 733)),
    "traffic light": ((920, 920),),
    "traffic sign": ((919, 919),),
    "bench": ((703, 703),),
    "chair": ((423, 423), (559, 559), (765, 765)),
    "couch": ((831, 831),),
    "table": ((532, 532),),
    "bed": ((564, 564),),
    "bridge": ((821, 821), (839, 839), (888, 888)),
    "building": ((483, 483), (497, 497), (663, 663), (668, 668), (698, 698)),
    "mountain": ((970, 970), (972, 972), (980, 980)),
    "flower": ((985, 986),),
    "fruit": ((948, 957),),
    "clock": ((409, 409), (530, 530), (892, 892)),
    "bottle": ((440, 440), (720, 720), (737, 737), (898, 898), (907, 907)),
    "cup": ((504, 504), (968, 968)),
    "wall": ((825, 825),),
    "curtain": ((794, 794), (854, 854)),
    "door": ((799, 799),),
    "tent": ((672, 672),),
    "laptop": ((620, 620), (681, 681)),
    "keyboard": ((508, 508),),
    "mouse": ((673, 673),),
    "cell phone": ((487, 487),),
    "tv": ((851, 851),),
    "refrigerator": ((760, 760),),
    "toilet": ((861, 861),),
    "sink": ((896, 896),),
    "microwave": ((651, 651),),
    "oven": ((827, 827),),
    "umbrella": ((879, 879),),
    "backpack": ((414, 414),),
    "vase": ((883, 883),),
    "person": ((981, 983),),
    "mushroom": ((991, 997),),
}


def coco_words(name: str) -> tuple[str, ...]:
    """Words of one COCO panoptic category name (``"sky-other-merged"`` -> ``("sky",)``)."""
    if name in COCO_NAMES:
        return COCO_NAMES[name]
    return (name.replace("-merged", "").replace("-other", "").replace("-stuff", ""),)


def imagenet_words(index: int, name: str) -> tuple[str, ...]:
    """Words of one ImageNet class: its own name and the everyday words whose ranges hold it."""
    own = name.replace("_", " ").replace("-", " ").lower()
    return (own, *(w for w, spans in IMAGENET_HYPERNYMS.items() if w != own and any(a <= index <= b for a, b in spans)))
