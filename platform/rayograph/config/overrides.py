"""`--set stage.field=value`: one field of a declaration, changed by its path."""

from collections.abc import Sequence
from typing import TypeVar

import yaml
from pydantic import ValidationError

from rayograph.config.base import Declaration
from rayograph.config.explain import explain, field_paths, suggestion
from rayograph.config.scale import Scale
from rayograph.config.stages import Job
from rayograph.errors import ConfigError

D = TypeVar("D", bound=Declaration)


def apply_overrides(job: Job, scale: Scale, assignments: Sequence[str]) -> tuple[Job, Scale]:
    """The job and profile with every assignment made: `seed=…`, `stage.field=…` or `scale.field=…`.

    Values are read as YAML. Raises ConfigError for an unknown stage or field, or a value that its field refuses.
    """
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        if not equals or not path:
            raise ConfigError(f"--set {assignment}: expected stage.field=value")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"--set {path}: expected a YAML value, got {text!r}") from error
        head, *rest = path.split(".")
        if head == "scale" and rest:
            scale = _replaced(scale, rest, value, "scale")
        elif head in job.stages and rest:
            stages = {**job.stages, head: _replaced(job.stages[head], rest, value, head)}
            job = job_from(job.name, job.seed, stages)
        elif head == "seed" and not rest:
            job = job_from(job.name, value, job.stages)
        elif head == "scale" or head in job.stages:
            raise ConfigError(f"--set {assignment}: expected one of its fields, as in {head}.field=value")
        else:
            raise ConfigError(f"{path}: no such stage or field{suggestion(head, [*job.stages, 'scale', 'seed'])}")
    return job, scale


def job_from(name: str, seed: object, stages: object) -> Job:
    """A Job, its refusals in one line."""
    try:
        return Job.model_validate({"name": name, "seed": seed, "stages": stages})
    except ValidationError as error:
        raise explain(error, Job, "") from None


def _replaced(declaration: D, path: Sequence[str], value: object, where: str) -> D:
    name, *rest = path
    if name not in type(declaration).model_fields:
        raise ConfigError(f"{where}.{name}: no such field{suggestion(name, field_paths(type(declaration)))}")
    inner = getattr(declaration, name)
    if rest:
        if not isinstance(inner, Declaration):
            raise ConfigError(f"{where}.{name}: has no field {rest[0]!r}; it is {inner!r}")
        value = _replaced(inner, rest, value, f"{where}.{name}")
    current = {field: getattr(declaration, field) for field in type(declaration).model_fields}
    try:
        return type(declaration).model_validate({**current, name: value})
    except ValidationError as error:
        raise explain(error, type(declaration), where) from None
