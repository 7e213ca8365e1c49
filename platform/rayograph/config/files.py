"""Job files and scale profiles, read from disk."""

import runpy
from pathlib import Path

import yaml
from pydantic import ValidationError

from rayograph.config import core_yaml
from rayograph.config.explain import explain
from rayograph.config.scale import Scale
from rayograph.config.stages import Job
from rayograph.errors import ConfigError


def load_job(path: str) -> Job:
    """The `job` that a job file declares. The file is Python and is run: it is the user's own code."""
    file = Path(path)
    if not file.is_file():
        raise ConfigError(f"{path}: expected a job file such as jobs/digits.py, found none")
    try:
        job = runpy.run_path(str(file)).get("job")
    except ValidationError as error:
        model = _declaration_named(error.title)
        raise explain(error, model, f"{path}: {error.title}") from None
    except (SyntaxError, ImportError, NameError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path}: {type(error).__name__}: {error}") from error
    if not isinstance(job, Job):
        raise ConfigError(f"{path}: expected a variable `job` holding a Job, got {type(job).__name__}")
    return job


def load_scale(path: str | None) -> Scale:
    """The profile at `path`; None is the built-in one, which is a laptop's."""
    if path is None:
        return Scale()
    file = Path(path)
    if not file.is_file():
        raise ConfigError(f"{path}: expected a scale profile such as cluster/laptop/scale.yaml, found none")
    try:
        return Scale.model_validate(core_yaml.load(file.read_text("utf-8")) or {})
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    except ValidationError as error:
        raise explain(error, Scale, path) from None


def _declaration_named(title: str) -> type:
    import rayograph.config as declarations

    return getattr(declarations, title, Job)
