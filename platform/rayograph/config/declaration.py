"""What every declaration shares: frozen, closed to unknown fields, checked down to its defaults."""

from collections.abc import Iterable
from functools import cache
from typing import Annotated, Any, ClassVar, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

NOT_IN_KEY = "not in key"
"""Marks a field, as `Annotated[int, NOT_IN_KEY]`, that may change under way without changing what a stage makes."""

Seed = Annotated[int, Field(ge=0, lt=2**64)]
"""The numbers that every generator in use takes: NumPy's from 0, torch's below 2⁶⁴."""


Channels = Annotated[int, Field(gt=0, le=65_536)]
"""A network's width: beyond, one layer alone has more weights than any device holds."""

LearningRate = Annotated[float, Field(ge=1e-12, le=10.0)]
"""Below, a float32 weight never moves; above, no training holds."""

Weight = Annotated[float, Field(ge=0.0, le=1e6)]
"""Of a loss among others."""

Share = Annotated[float, Field(ge=1e-6, le=1e6)]
"""Of one thing among several, in any unit: what counts is how many times another's it is."""


class Declaration(BaseModel):
    """A statement of what is wanted. It does nothing, imports nothing heavy and cannot change once made.

    `version` is that of its meaning: raised where the same fields come to make something else, or where a default
    changes, so that what was made before is not taken for it (config/keys.py). The changelog says so.
    """

    version: ClassVar[int] = 1

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, protected_namespaces=(), allow_inf_nan=False
    )

    @model_validator(mode="before")
    @classmethod
    def _values_are_what_they_seem(cls, given: object) -> object:
        """True is no 1, thirty digits are no number of anything here, and half a letter is no text."""
        for name, value in given.items() if isinstance(given, dict) else ():
            for part in _parts(value):
                if isinstance(part, bool) and name in cls.model_fields and not _takes_truth(cls, name):
                    raise ValueError(f"{name}: expected no truth value, got {part}")
                if isinstance(part, str) and not is_unicode(part):
                    raise ValueError(f"{name}: expected text in UTF-8, got {part[:80]!r}")
                if type(part) is int and not -(2**63) <= part < 2**64:
                    raise ValueError(f"{name}: expected at most 64 bits, got a number of {part.bit_length()}")
        return given


def is_unicode(text: str) -> bool:
    """Whether it has no half of a surrogate pair, which JSON can say and UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _parts(value: object) -> Iterable[object]:
    """What a list or a mapping holds; anything else is its own part."""
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list | tuple) else (value,)


@cache
def _takes_truth(declaration: type[Declaration], name: str) -> bool:
    """Whether a field, or one of a declaration in it, may be true or false."""
    waiting = [declaration.model_fields[name].annotation]
    while waiting:
        annotation = waiting.pop()
        if annotation in (bool, Any) or (isinstance(annotation, type) and issubclass(annotation, Declaration)):
            return True
        waiting += get_args(annotation)
    return False
