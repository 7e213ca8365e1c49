"""What every declaration shares: frozen, closed to unknown fields, checked down to its defaults."""

from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field

NOT_IN_KEY = "not in key"
"""Marks a field, as `Annotated[int, NOT_IN_KEY]`, that may change under way without changing what a stage makes."""

Seed = Annotated[int, Field(ge=0, lt=2**64)]
"""The numbers that every generator in use takes: NumPy's from 0, torch's below 2⁶⁴."""


class Declaration(BaseModel):
    """A statement of what is wanted. It does nothing, imports nothing heavy and cannot change once made.

    `version` is that of its meaning: raised where the same fields come to make something else, or where a default
    changes, so that what was made before is not taken for it (config/keys.py). The changelog says so.
    """

    version: ClassVar[int] = 1

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, protected_namespaces=())


class StageBase(Declaration):
    """What every stage has. `inputs` maps each input field to the kind of stage whose artifact it takes."""

    inputs: ClassVar[dict[str, str]] = {}
    seed: Annotated[Seed | None, NOT_IN_KEY] = None
    """None takes the job's seed; in a key it counts as what it comes to."""

    def references(self) -> list[tuple[str, str, str]]:
        """(field, kind, reference) of every input; a mixture's are numbered: images.0, images.1."""
        found = []
        for field, kind in self.inputs.items():
            given = getattr(self, field)
            if isinstance(given, str):
                found.append((field, kind, given))
            else:
                found += [(f"{field}.{number}", kind, ref) for number, ref in enumerate(given)]
        return found
