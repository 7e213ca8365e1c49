"""What a client may ask for: the body of POST /v1/jobs, closed to unknown fields."""

from typing import Annotated, Any, TypeVar

from pydantic import ConfigDict, Field, JsonValue, PositiveInt, create_model, model_validator

from rayograph.config import ImageFile, Marking, Sampler
from rayograph.config.declaration import Declaration, Seed
from rayograph.sampling.requests.options import options
from rayograph.sampling.requests.validation import MAX_COUNT

Side = Annotated[int, Field(gt=0, le=4096)]
"""Pixels."""


class Body(Declaration):
    """Frozen and closed, as declarations are."""


R = TypeVar("R", bound=Body)


def _with_sampler_options(row: type[R]) -> type[R]:
    """The same with an optional field of every option of the sampler that rows may say, as `Sampler` declares it."""
    fields: dict[str, Any] = {}
    for option in options():
        declared = Sampler.model_fields[option.name]
        bounds = Field(description=declared.description)
        bounds.metadata = list(declared.metadata)
        fields[option.name] = (Annotated[declared.annotation, bounds] | None, None)
    return create_model(row.__name__, __base__=row, __module__=row.__module__, **fields)


@_with_sampler_options
class Row(Body):
    """`count` images of one kind; what a row leaves out is the submission's, or the model's.

    Any other field is a column that the model is conditioned on: its conditioner says which there are, and checks them.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, JsonValue] = Field(init=False)

    prompt: str | None = None
    count: Annotated[int, Field(gt=0, le=MAX_COUNT)] = 1
    seed: Seed | None = None
    width: Side | None = None
    height: Side | None = None

    def said(self) -> dict[str, JsonValue]:
        """Return what the row says, as a request's file holds it."""
        return {name: value for name, value in self.model_dump(mode="json").items() if value is not None}


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
