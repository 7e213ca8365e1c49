"""Declarations of batch generation: what is asked for, as which files, and how they are marked."""

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from rayograph.config.declaration import Declaration
from rayograph.config.job.sources import Place


class ImageFile(Declaration):
    """The files that images are kept as. `quality` (1 to 100) is of JPEG and WebP; None is 95."""

    kind: Literal["png", "jpeg", "webp"] = "png"
    quality: int | None = Field(None, ge=1, le=100)

    @model_validator(mode="after")
    def _quality_is_of_lossy_files(self) -> "ImageFile":
        if self.kind == "png" and self.quality is not None:
            raise ValueError(f"quality: expected none for png, which loses nothing, got {self.quality}")
        return self

    @property
    def extension(self) -> str:
        """Of the member in a shard."""
        return "jpg" if self.kind == "jpeg" else self.kind


class Marking(Declaration):
    """How images say that they were generated. IPTC's `trainedAlgorithmicMedia` is in every one, as XMP.

    `credentials` signs each as well, with a C2PA manifest; the profile names certificate and key
    (`sampling.certificate_file`, `sampling.private_key_file`). A signature holds the time, so that signed files differ
    from one drawing to the next, while their pixels do not. `watermark` is up to four characters, hidden in the pixels
    of images of 256 × 256 and more.
    """

    credentials: bool = False
    watermark: str | None = Field(None, min_length=1, max_length=4, pattern=r"^[ -~]+$")


class Request(Declaration):
    """Rows that say what to draw, one or more images each; without one, samples take classes in turn.

    `uri` is a file (.parquet, .jsonl, .csv) or a committed artifact of shards. The columns it may have: `count` (images
    of this row, 1), `seed`, `width`, `height`; what the model's conditioner takes, as `class` (a number or a name); and
    the sampler's options that a row may say, as `num_inference_steps`, `guidance_scale`, `scheduler`. `keep` names
    further ones that are only carried along into the images' records, as `prompt`. The job's `spacing` and `eta` are of
    rows with the job's scheduler; another one's are its own defaults.
    """

    version: ClassVar[int] = 2  # classes by name before number

    uri: str
    keep: tuple[str, ...] = ()
    files: Literal["uri", "base64"] = "uri"
    """What text says of an image, map or mask: where its file lies, from the request's folder, or the file itself in
    base64. A data URL is either, and parquet may hold the bytes themselves."""
    allow: tuple[Place, ...] = ()
    """Addresses below which such files may lie too: a request reaches no other place than its own folder."""
    max_side: int = Field(4096, ge=1, le=65_535)
    """Pixels; a row that asks for more is refused."""
    revision: int = 0
    """What was asked for is fixed once work has started: raise this to ask anew by a file that changed."""
