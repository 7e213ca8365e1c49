"""What every declaration shares: frozen, closed to unknown fields, checked down to its defaults."""

from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field

Seed = Annotated[int, Field(ge=0, lt=2**64)]
"""The numbers that every generator in use takes: NumPy's from 0, torch's below 2⁶⁴."""


class Declaration(BaseModel):
    """A statement of what is wanted. It does nothing, imports nothing heavy and cannot change once made."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, protected_namespaces=())


class StageBase(Declaration):
    """What every stage has. `inputs` maps each input field to the kind of stage whose artifact it takes."""

    inputs: ClassVar[dict[str, str]] = {}
    seed: Seed | None = None
    """None takes the job's seed."""

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
