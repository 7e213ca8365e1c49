"""What every declaration shares: frozen, closed to unknown fields, checked down to its defaults."""

from typing import ClassVar

from pydantic import BaseModel, ConfigDict


class Declaration(BaseModel):
    """A statement of what is wanted. It does nothing, imports nothing heavy and cannot change once made."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, protected_namespaces=())


class StageBase(Declaration):
    """What every stage has. `inputs` maps each input field to the kind of stage whose artifact it takes."""

    inputs: ClassVar[dict[str, str]] = {}
    seed: int | None = None
    """None takes the job's seed."""
