"""What a client may ask for: the body of POST /v1/jobs, closed to unknown fields."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PositiveInt, model_validator

from rayograph.conditioning.class_names import class_text
from rayograph.config import ImageFile, Marking, Sampler
from rayograph.config.declaration import Declaration, Seed
from rayograph.config.job.schedules import HIGHEST_GUIDANCE
from rayograph.sampling.requests.validation import MAX_COUNT


def _class(given: Any) -> Any:
    text = class_text(given)
    if text is None:
        raise ValueError(f"expected a class's number or name, got {str(given)[:80]!r}")
    return text if isinstance(given, float) else given


ClassRef = Annotated[int | str, BeforeValidator(_class)]
Side = Annotated[int, Field(gt=0, le=4096)]
"""Pixels."""


class Body(Declaration):
    """Frozen and closed, as declarations are."""


class Row(Body):
    """`count` images of one kind; what a row leaves out is the submission's, or the model's."""

    class_: ClassRef | None = Field(None, alias="class")
    prompt: str | None = None
    count: Annotated[int, Field(gt=0, le=MAX_COUNT)] = 1
    seed: Seed | None = None
    width: Side | None = None
    height: Side | None = None
    num_inference_steps: Annotated[int, Field(gt=0, le=1000)] | None = None
    scheduler: Literal["ddim", "dpmsolver++", "euler_ancestral"] | None = None
    guidance_scale: float | None = Field(None, ge=0, le=HIGHEST_GUIDANCE)


class Submission(Body):
    """One of `rows`, `request_uri` (a file of rows below the store) and `num_samples`."""

    model: str = Field(min_length=1, max_length=2048)
    """A name that GET /v1/models lists, or the URI of a committed train_diffusion artifact."""
    name: str = Field("gallery", pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=64)
    """Of the job: <store>/<name>/sample/<key> is where its images go."""
    rows: list[Row] | None = Field(None, min_length=1)
    request_uri: str | None = Field(None, min_length=1, max_length=2048)
    num_samples: PositiveInt | None = None
    sampler: Sampler = Sampler()
    image: ImageFile = ImageFile()
    marking: Marking = Marking()
    seed: Seed = 0
    priority: int = Field(1, ge=1, le=100)
    unit_size: PositiveInt = Field(128, le=65_536)

    @model_validator(mode="after")
    def _one_of_three(self) -> "Submission":
        fields = ("rows", "request_uri", "num_samples")
        given = [name for name in fields if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"rows: expected exactly one of {', '.join(fields)}, got {' and '.join(given) or 'none'}")
        return self


class Token(Body):
    """The body of POST /v1/session."""

    token: str = Field(max_length=1024)
