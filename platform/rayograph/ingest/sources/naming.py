"""Names: of keys, which WebDataset's readers must find again, and of columns, as they are found in the wild."""

from collections.abc import Sequence
from dataclasses import dataclass

from rayograph.config import Columns
from rayograph.errors import DataError

KNOWN = {
    "key": ("key", "__key__"),
    "image": (
        *("image", "jpg", "jpeg", "png", "webp", "img", "image_bytes"),
        *("file_name", "image_path", "path", "uri", "url"),
    ),
    "caption": ("caption", "text", "txt", "prompt", "captions"),
    "label": ("label", "class", "cls"),
    "boxes": ("boxes", "bboxes", "bbox", "objects"),
    "mask": ("mask", "segmentation_mask", "mask.png", "seg.png"),
}
"""The first that is there is taken. Bytes come before addresses: img2dataset writes both."""

UNCLEAN = "/\\.\0"
"""What a key must not hold: a dot would end it, a slash would make it a folder."""

_CLEAN = str.maketrans(UNCLEAN, "_" * len(UNCLEAN))


@dataclass(frozen=True)
class Chosen:
    """The column of each part; None for what is not there."""

    key: str | None
    image: str
    caption: str | None
    label: str | None
    boxes: str | None
    mask: str | None

    @property
    def names(self) -> set[str]:
        """The columns that are taken apart; others are metadata."""
        parts = (self.key, self.image, self.caption, self.label, self.boxes, self.mask)
        return {name for name in parts if name is not None}


def choose(declared: Columns, present: Sequence[str], where: str, first_image: str = "") -> Chosen:
    """Which of the columns `present` hold what. Raises DataError naming the file, the column and those there are."""
    require_different(present, where)
    found: dict[str, str | None] = {}
    for part, known in KNOWN.items():
        name = getattr(declared, part)
        if name and name not in present:
            raise DataError(f"{where}: expected a column {name!r} ({part}), got columns {', '.join(present)}")
        candidates = (first_image, *known) if part == "image" else known
        found[part] = (name or None) if name is not None else next((k for k in candidates if k in present), None)
    image = found.pop("image")
    if image is None:
        expected = ", ".join(KNOWN["image"])
        raise DataError(f"{where}: expected a column of images ({expected}), got columns {', '.join(present)}")
    return Chosen(image=image, **found)


def require_different(present: Sequence[str], where: str) -> None:
    """Raises DataError naming the file for a column that stands there twice."""
    twice = next((name for number, name in enumerate(present) if name in present[:number]), None)
    if twice is not None:
        raise DataError(f"{where}: expected columns of different names, got {twice!r} twice")


def clean_key(text: str) -> str:
    """Without what a key must not hold."""
    return text.translate(_CLEAN)


def path_key(path: str) -> str:
    """a/b.c.png → a_b_c"""
    stem, dot, ending = path.rpartition(".")
    return clean_key(stem if dot and stem and "/" not in ending else path)


def check_key(key: str, where: str) -> None:
    """Raises DataError for a key that WebDataset's readers would not find again, or that leads out of a folder."""
    parts = key.split("/")
    if any(part in ("", ".", "..") for part in parts) or "." in parts[-1] or "\0" in key or "\\" in key:
        raise DataError(f"{where}: expected a key that is a relative name without a dot in its last part, got {key!r}")
