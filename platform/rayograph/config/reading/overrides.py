"""`--set stage.field=value`: one field of a declaration, changed by its path.

All assignments are made first and validated then, once: fields that only go together can be changed one by one, in any
order.
"""

from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from typing import TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from rayograph.config.declaration import Declaration
from rayograph.config.job.stages import Job
from rayograph.config.reading import core_yaml
from rayograph.config.reading.explain import declarations_of, explain, field_paths, shown, suggestion, tagged
from rayograph.config.scale import Scale
from rayograph.errors import ConfigError

D = TypeVar("D", bound=Declaration)


def apply_overrides(job: Job, scale: Scale, assignments: Sequence[str]) -> tuple[Job, Scale]:
    """Return the job and profile with every assignment made: `seed=…`, `stage.field=…` or `scale.field=…`.

    Values are read as YAML 1.2. Raises ConfigError for an unknown stage or field, or a value that its field refuses.
    """
    seed: object = job.seed
    of_scale = _Changes(scale)
    of_stages: dict[str, _Changes] = {}
    for assignment in assignments:
        path, value = _parsed(assignment)
        head, *rest = path.split(".")
        if head == "scale" and rest:
            of_scale.assign(rest, value, head)
        elif head in job.stages and rest:
            of_stages.setdefault(head, _Changes(job.stages[head])).assign(rest, value, head)
        elif head == "seed" and not rest:
            seed = value
        elif head == "scale" or head in job.stages:
            raise ConfigError(f"--set {assignment}: expected one of its fields, as in {head}.field=value")
        else:
            raise ConfigError(f"{path}: no such stage or field{suggestion(head, [*job.stages, 'scale', 'seed'])}")
    made = {name: _made(type(job.stages[name]), changes, name) for name, changes in of_stages.items()}
    return job_from(job.name, seed, {**job.stages, **made}), _made(Scale, of_scale, "scale")


def job_from(name: str, seed: object, stages: object) -> Job:
    """Make a Job; its refusals are one line."""
    try:
        return Job.model_validate({"name": name, "seed": seed, "stages": stages})
    except ValidationError as error:
        raise explain(error, Job, "") from None


def _parsed(assignment: str) -> tuple[str, object]:
    path, equals, text = assignment.partition("=")
    if not equals or not path:
        raise ConfigError(f"--set {assignment}: expected stage.field=value")
    try:
        return path, core_yaml.load_value(text)
    except yaml.YAMLError as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"--set {path}: expected a YAML value, got {shown(text)}: {reason}") from error


@dataclass
class _Changes:
    """A declaration, or None, in whose place one of `kinds` may come, and what is said of its fields meanwhile."""

    base: Declaration | None
    kinds: Sequence[type[BaseModel]] = ()
    said: dict[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.kinds and self.base is not None:
            self.kinds = (type(self.base),)

    def assign(self, path: Sequence[str], value: object, where: str) -> None:
        """Take a value for the field that `path` leads to."""
        name, *rest = path
        fields = [kind.model_fields[name] for kind in self.kinds if name in kind.model_fields]
        if not fields:
            raise ConfigError(f"{where}.{name}: no such field{suggestion(name, field_paths(tuple(self.kinds)))}")
        if not rest:
            self.said[name] = value
            return
        inner = self.said.get(name, getattr(self.base, name, None))
        if not isinstance(inner, _Changes):
            kinds = [kind for found in fields for kind in declarations_of(found)]
            if not kinds or not isinstance(inner, dict | Declaration | None):
                raise ConfigError(f"{where}.{name}: has no field {rest[0]!r}; it is {shown(inner)}")
            inner = _Changes(None, kinds, dict(inner)) if isinstance(inner, dict) else _Changes(inner, kinds)
            self.said[name] = inner
        inner.assign(rest, value, f"{where}.{name}")

    def values(self) -> dict[str, object]:
        """Return all fields as they are to be validated.

        One of another `kind` keeps of the fields that were there those that it has too, and is new in the others.
        """
        said = {name: value.values() if isinstance(value, _Changes) else value for name, value in self.said.items()}
        if self.base is None:
            return said
        kept: Set[str] = type(self.base).model_fields.keys()
        if said.get("kind", getattr(self.base, "kind", None)) != getattr(self.base, "kind", None):
            other = tagged(tuple(self.kinds), said["kind"])
            kept = kept & other.model_fields.keys() if other else kept
        return {name: getattr(self.base, name) for name in type(self.base).model_fields if name in kept} | said


def _made(declared: type[D], changes: _Changes, where: str) -> D:
    try:
        return declared.model_validate(changes.values())
    except ValidationError as error:
        raise explain(error, declared, where) from None
