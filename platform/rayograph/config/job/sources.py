"""Where a pack's images come from."""

from typing import Annotated, Literal, Union

from pydantic import AfterValidator, Field, model_validator

from rayograph.config.declaration import Declaration, Seed

METADATA_EXTENSIONS = (".csv", ".jsonl", ".parquet")


def _no_program_and_not_the_web(uri: str) -> str:
    if uri.lower().lstrip().startswith("pipe:"):
        raise ValueError(
            f"{uri[:200]}: expected a folder, file or URI, got a command: none is run, as it could do anything and "
            "could not be read in parts; give the address that it reads"
        )
    if uri.lower().startswith(("http://", "https://")):
        raise ValueError(
            f"{uri}: the web is not crawled: download with img2dataset first, and pack the shards it writes"
        )
    return uri


def _absolute(place: str) -> str:
    if "://" not in place and not place.startswith("/"):
        raise ValueError(f"expected an absolute folder or a URI, got {place!r}")
    return place


Uri = Annotated[str, AfterValidator(_no_program_and_not_the_web)]

Place = Annotated[str, AfterValidator(_absolute)]


class Columns(Declaration):
    """Which column holds what; of a tar's sample, which member or else which field of its json.

    None takes the first known name that is there (ingest/sources/naming.py lists them), "" leaves the part out.
    """

    key: str | None = None
    """Keys; without, rows of tables are called <file>-<row>."""
    image: str | None = None
    """Bytes, Hugging Face's {bytes, path}, or a URI: absolute, or relative to the table."""
    caption: str | None = None
    """Text, or a list of texts."""
    captions: Literal["first", "all"] = "first"
    """Of several captions of an image; "all" keeps the list in the sample's json too, as `captions`."""
    label: str | None = None
    """Classes: integers from 0, as numbers or text, or names. Text costs a first pass over this column."""
    boxes: str | None = None
    """[[x, y, w, h], …] in pixels of the upright image, or {"bbox": [[…], …], "category": […]}."""
    mask: str | None = None
    """An image of class indices, one channel, as large as the image: bytes or URI as in `image`."""
    class_names: tuple[str, ...] = ()
    """Labels that are names, in the order of their numbers. Empty takes all that occur, sorted (not from tars)."""


class SklearnDigits(Declaration):
    """scikit-learn's 1,797 handwritten digits of 8×8 pixels (Alpaydin & Kaynak 1998), shipped with the package."""

    kind: Literal["sklearn_digits"] = "sklearn_digits"


class OpenMoji(Declaration):
    """The 3,953 drawings of OpenMoji that have a name: caption (txt), map of its layers (map.png), groups (json).

    The extra `emoji` brings them, under CC BY-SA 4.0: the manifest and the report say so. Keys are hexcodes. Drawings
    are transparent around; what lies below is `Pack.background`. A map's numbers are 0 background, 1 color, 2 hair,
    3 skin, 4 skin_shadow, 5 line: the layer that is seen.
    """

    kind: Literal["openmoji"] = "openmoji"
    size: Annotated[int, Field(ge=8, le=2048)] = 64
    """Pixels a side that they are rendered at."""
    groups: tuple[str, ...] = ()
    """Unicode's groups or subgroups, as "animals-nature" or "person-role", that are taken; empty takes all."""
    classes: Literal["none", "group", "subgroup"] = "none"
    """What is a drawing's class (cls)."""
    unseen_combinations: int = Field(200, ge=0)
    """So many drawings are held out whose words are all seen in others, together in none; at least three seen ones
    differ from each in one word. With 0, `Pack.held_out_fraction` holds out by key."""
    seed: Seed = 0
    """Of the choice of combinations."""


class Scenes(Declaration):
    """Scenes composed of OpenMoji's drawings, with boxes (boxes.json) and a sentence (txt): none was drawn by anybody.

    boxes.json is [{"label": …, "box": [x0, y0, x1, y1]}, …] in fractions of the image. Boxes do not overlap, and hold
    all that is seen of their drawing. The extra `emoji` brings the drawings, under CC BY-SA 4.0.
    """

    kind: Literal["scenes"] = "scenes"
    scenes: Annotated[int, Field(gt=0, le=10**7)] = 10_000
    size: Annotated[int, Field(ge=32, le=2048)] = 64
    """Pixels a side."""
    groups: tuple[str, ...] = ("animals-nature", "food-drink")
    """Unicode's groups or subgroups that drawings are taken from; empty takes all."""
    fewest: Annotated[int, Field(ge=1, le=16)] = 2
    """Drawings in a scene, at least."""
    most: Annotated[int, Field(ge=1, le=16)] = 5
    """Drawings in a scene, at most; fewer where there is no room."""
    smallest: float = Field(0.25, ge=0.1, le=1)
    """Side of a drawing, empty edges included, as a share of the image's: at least."""
    largest: float = Field(0.5, ge=0.1, le=1)
    """The same, at most."""
    seed: Seed = 0

    @model_validator(mode="after")
    def _ranges_hold_something(self) -> "Scenes":
        if self.fewest > self.most:
            raise ValueError(f"fewest: expected at most most {self.most}, got {self.fewest}")
        if self.smallest > self.largest:
            raise ValueError(f"smallest: expected at most largest {self.largest:g}, got {self.smallest:g}")
        return self


class Photographs(Declaration):
    """A dozen photographs that come with scikit-image and scikit-learn, whole; the extra `photographs` brings them."""

    kind: Literal["photographs"] = "photographs"


class ImageFolder(Declaration):
    """Image files below `uri`, or those of its pattern (*, ?, [0-2], **, {a,b}, {00..12}); a.txt is a.jpg's caption.

    With `class_per_folder` the folders right below name the classes: sorted, by value where all are numbers. Folders
    that are all called train, test, val and the like are splits, and classes the folders in them.
    `metadata` is a table below `uri` (.csv, .jsonl, .parquet) with a row an image; its column `file_name` is a path
    from the table's own folder, as Hugging Face's imagefolder has it. Only the images that it names are packed;
    several rows of one image are several captions of it.
    A folder that changed keeps its artifact: raise `revision` to pack it anew.
    """

    kind: Literal["image_folder"] = "image_folder"
    uri: Uri
    class_per_folder: bool = False
    split_folders: bool | None = None
    """Whether the folders right below are splits; None tells it by their names. Test and validation are held out."""
    metadata: str | None = None
    columns: Columns = Columns()
    allow: tuple[Place, ...] = ()
    """Absolute folders and URIs below which the table may name images, besides its own folder."""
    revision: int = 0

    @model_validator(mode="after")
    def _metadata_can_be_read(self) -> "ImageFolder":
        if self.metadata is not None and not self.metadata.lower().endswith(METADATA_EXTENSIONS):
            raise ValueError(
                f"metadata: expected a name that ends in {', '.join(METADATA_EXTENSIONS)}, got {self.metadata!r}"
            )
        if self.metadata is None and self.columns != Columns():
            raise ValueError("columns: expected metadata beside it, whose columns they are")
        if self.metadata is None and self.allow:
            raise ValueError("allow: expected metadata beside it, whose rows name images")
        return self


class ParquetTable(Declaration):
    """Parquet files below `uri`, the one file there, or those of its pattern: Hugging Face's layout, img2dataset's, or
    a table of URIs. Folders label=cat are a column too.

    Where all files are called train, test, validation and the like, and of both kinds, they are splits.
    """

    kind: Literal["parquet_table"] = "parquet_table"
    uri: Uri
    columns: Columns = Columns()
    allow: tuple[Place, ...] = ()
    """Absolute folders and URIs below which rows may name images, besides their table's own folder."""
    split_files: bool | None = None
    """Whether files are splits; None tells it by their names. Test and validation are held out."""
    revision: int = 0


class WebDatasetShards(Declaration):
    """The tars below `uri`, the one there, or those of its pattern: members of one key side by side are a sample."""

    kind: Literal["webdataset_shards"] = "webdataset_shards"
    uri: Uri
    columns: Columns = Columns()
    revision: int = 0


class Tiles(Declaration):
    """The images of another source, reduced and cut into squares; those of one image are all of the same split.

    The grid lies in an image's middle; what is left over at its edges is no tile. A tile's key is its image's, row and
    column.
    """

    kind: Literal["tiles"] = "tiles"
    source: Annotated[Union[Photographs, ImageFolder], Field(discriminator="kind")]  # noqa: UP007 - pydantic wants it
    size: Annotated[int, Field(ge=8, le=4096)] = 64
    """Pixels a side of a tile."""
    reduction: Annotated[int, Field(ge=1, le=64)] = 4
    """What sides are divided by before: photographs are rarely sharp at their full size."""
    least_detail: float = Field(3.0, ge=0, le=255)
    """Mean difference of neighbouring pixels, in 255ths of grey, below which a tile is left out, and counted."""


Source = Annotated[
    Union[SklearnDigits, OpenMoji, Scenes, Photographs, Tiles, ImageFolder, ParquetTable, WebDatasetShards],  # noqa: UP007 - pydantic wants it
    Field(discriminator="kind"),
]
