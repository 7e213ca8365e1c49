"""Photographs that come with scikit-image and scikit-learn, whole: each is one sample under its own name."""

from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import NamedTuple

import pyarrow as pa

from rayograph.ingest.sources.file_listing import Listing
from rayograph.ingest.sources.shipped.packages import require_packages
from rayograph.ingest.sources.source import Findings, Row, Task

_SKIMAGE, _SKLEARN = "skimage.data", "sklearn.datasets.images"


class Photograph(NamedTuple):
    """Where it lies, and whose it is."""

    package: str
    file: str
    licence: str


PHOTOGRAPHS: Mapping[str, Photograph] = {
    "astronaut": Photograph(_SKIMAGE, "astronaut.png", "NASA, public domain"),
    "brick": Photograph(_SKIMAGE, "brick.png", "CC0Textures, CC0"),
    "camera": Photograph(_SKIMAGE, "camera.png", "Lav Varshney, CC0"),
    "chelsea": Photograph(_SKIMAGE, "chelsea.png", "Stefan van der Walt, CC0"),
    "china": Photograph(_SKLEARN, "china.jpg", "danielbuechele, CC BY 2.0"),
    "coffee": Photograph(_SKIMAGE, "coffee.png", "Rachel Michetti, CC0"),
    "flower": Photograph(_SKLEARN, "flower.jpg", "vultilion, CC BY 2.0"),
    "grass": Photograph(_SKIMAGE, "grass.png", "CC0Textures, CC0"),
    "gravel": Photograph(_SKIMAGE, "gravel.png", "CC0Textures, CC0"),
    "hubble_deep_field": Photograph(_SKIMAGE, "hubble_deep_field.jpg", "NASA, public domain"),
    "retina": Photograph(_SKIMAGE, "retina.jpg", "Häggström 2014, CC0"),
    "rocket": Photograph(_SKIMAGE, "rocket.jpg", "SpaceX, public domain"),
}
"""Those whose package says under which licence they are."""


class PackagedPhotographs:
    """A dozen, as their files hold them."""

    unit = "photographs"
    class_names: list[str] = []  # noqa: RUF012 - they are of no class

    def __init__(self) -> None:
        """Raises ConfigError where scikit-image is not installed."""
        require_packages("photographs")
        names = pa.array(list(PHOTOGRAPHS), pa.large_string())
        self._listing = Listing.of(names, None, str)
        self.fingerprint = self._listing.fingerprint
        licences = "; ".join(f"{name}: {photograph.licence}" for name, photograph in PHOTOGRAPHS.items())
        self.findings = Findings(facts={"origin": "scikit-image and scikit-learn", "licence": licences})

    def tasks(self, rows: int, held_out_fraction: float) -> list[Task]:
        return self._listing.tasks(rows, held_out_fraction)

    def rows(self, task: Task) -> Iterator[Row]:
        for number in self._listing.rows(task):
            name = self._listing.keys[number]
            photograph = PHOTOGRAPHS[name]
            yield Row(name, f"{photograph.package} {photograph.file}", _read(photograph), metadata={"photograph": name})


def _read(photograph: Photograph) -> bytes:
    return files(photograph.package).joinpath(photograph.file).read_bytes()
