"""What a batch generation says of itself, and what people ask of it: two small files beside its shards.

Whoever reads the store can watch and control it, wherever the coordinator runs, and whether one runs at all.
"""

import json
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from rayograph.errors import DataError, MissingObjectError
from rayograph.runs.artifact import Artifact

STATE, CONTROL, DEAD = "state.json", "control.json", "dead/"

Phase = Literal["running", "paused", "interrupted", "cancelled", "failed", "done"]
Wanted = Literal["running", "paused", "cancelled"]


class JobState(BaseModel):
    """The coordinator's last word. One whose `updated` is older than a minute has died, or its machine has."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    phase: Phase
    samples: int
    """In committed shards."""
    total_samples: int
    units: int
    total_units: int
    started: str
    """UTC, ISO 8601, of this attempt."""
    updated: str
    images_per_second: float | None = None
    """Over the last minute."""
    seconds_left: float | None = None
    replicas: int = 0
    priority: int = 1
    lost: int = 0
    """Units sent again, because a replica died or failed under them."""
    dead: list[str] = []
    """Shards of dead-letter units."""
    device_seconds: float = 0.0
    """Of drawing, over committed units and all attempts."""
    replica_seconds: float = 0.0
    """That replicas were there, busy or not, over all attempts."""
    money: float | None = None
    """What those cost, where the profile has a price."""
    error: str | None = None
    """Of phase "failed": one line."""


def read_state(artifact: Artifact) -> JobState | None:
    """None where no coordinator has spoken yet."""
    try:
        return JobState.model_validate_json(artifact.read(STATE))
    except MissingObjectError:
        return None
    except ValidationError as error:
        raise DataError(f"{artifact.uri}/{STATE}: {error.errors()[0]['msg']}") from error


def write_state(artifact: Artifact, state: JobState) -> None:
    artifact.write(STATE, state.model_dump_json(indent=1).encode())


def wanted(artifact: Artifact) -> Wanted:
    """What was asked for last; running where nothing was."""
    try:
        asked = json.loads(artifact.read(CONTROL)).get("wanted")
    except MissingObjectError:
        return "running"
    except (ValueError, AttributeError) as error:
        raise DataError(f"{artifact.uri}/{CONTROL}: expected a JSON object, got {error}") from error
    if asked not in ("running", "paused", "cancelled"):
        raise DataError(f"{artifact.uri}/{CONTROL}: wanted: expected running, paused or cancelled, got {asked!r}")
    found: Wanted = asked
    return found


def ask(artifact: Artifact, what: Wanted) -> None:
    """Leaves it for the coordinator, which looks every two seconds."""
    artifact.write(CONTROL, json.dumps({"wanted": what}).encode())
