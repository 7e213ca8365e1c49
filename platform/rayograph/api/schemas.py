"""What the HTTP app says of models and of where artifacts come from."""

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, JsonValue

Record = Mapping[str, JsonValue]
"""What an image says of itself."""


class Answer(BaseModel):
    """What the app says."""

    model_config = ConfigDict(frozen=True, protected_namespaces=())


class Model(Answer):
    """A committed model that can be drawn from; `name` is its path in the store."""

    name: str
    uri: str
    digest: str
    created: str
    class_names: list[str]
    """By number; empty for a model without classes."""


class Parentage(Answer):
    """An artifact that another was made from, as its manifest says."""

    input: str
    uri: str
    digest: str


class Ancestor(Answer):
    """One artifact on the way back from an image to the data. `digest` and `created` are None until it is committed."""

    uri: str
    job: str
    stage: str
    kind: str
    key: str
    seed: int
    digest: str | None
    created: str | None
    samples: int
    parents: list[Parentage]
    declared: Mapping[str, JsonValue]
    """The stage as it was declared."""
