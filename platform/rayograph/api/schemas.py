"""What the HTTP app says of models and of where artifacts come from."""

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, JsonValue

from rayograph.conditioning.form import FieldKind

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


class ModelField(Answer):
    """A column that rows of a request may have, or must: what people are asked for, whatever the model."""

    column: str
    kind: FieldKind
    """class (of `names`, or a number below `count`), text, boxes (with labels), map (of labels), image, mask, json."""
    required: bool
    names: list[str]
    """Of classes or labels, by number; empty where they have none."""
    count: int | None
    most: int | None
    """Characters of a text, or boxes of an image, at most."""


class ModelForm(Answer):
    """What a model can be asked for. It was trained at `side` pixels; sides are multiples of `multiple`."""

    side: int
    multiple: int
    takes: list[ModelField]


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
