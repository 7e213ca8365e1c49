"""Job files and scale profiles, read from disk."""

import runpy
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

import yaml
from pydantic import ValidationError

from rayograph.config import extensions
from rayograph.config.job.stages import Job
from rayograph.config.reading import core_yaml
from rayograph.config.reading.explain import explain
from rayograph.config.scale import Scale
from rayograph.errors import ConfigError


def load_job(path: str) -> Job:
    """Return the `job` that a job file declares. The file is Python and is run: it is the user's own code.

    Modules beside it are found while it runs; those that register kinds go to the workers too. Whatever it raises, and
    its end by `sys.exit`, is a ConfigError naming file, line and exception; only Ctrl-C is what it always is.
    """
    file = Path(path)
    path = str(file)
    if not file.is_file():
        raise ConfigError(f"{path}: expected a job file such as jobs/digits.py, found none")
    try:
        with _beside(file):
            job = runpy.run_path(path, run_name=extensions.JOB_FILE).get("job")
    except KeyboardInterrupt:
        raise
    except ValidationError as error:
        model = _declaration_named(error.title)
        raise explain(error, model, f"{_place(path, error)}: {error.title}") from None
    except BaseException as error:
        raise ConfigError(f"{_place(path, error)}: {_told(error)}") from error
    if extensions.registers(extensions.JOB_FILE):
        raise ConfigError(
            f"{path}: expected kinds in a module beside the job file, for workers import it, got them here"
        )
    if not isinstance(job, Job):
        raise ConfigError(f"{path}: expected a variable `job` holding a Job, got {type(job).__name__}")
    return _plain(job)


@contextmanager
def _beside(file: Path) -> Iterator[None]:
    """Modules in the file's folder can be imported meanwhile; another job's of the same names never stand for them.

    They stay where one of them registers kinds: what is made of these is pickled by their names.
    """
    folder = str(file.resolve().parent)
    extensions.forget()
    before = set(sys.modules)
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)
        own = [name for name in set(sys.modules) - before if _lies_in(name, folder)]
        extending = any(map(extensions.registers, own))
        for name in own:
            if not extending:
                del sys.modules[name]
            elif "." not in name:
                place = Path(str(sys.modules[name].__file__))
                extensions.keep(name, place.parent if place.name == "__init__.py" else place)


def _lies_in(name: str, folder: str) -> bool:
    origin = getattr(sys.modules[name], "__file__", None)
    return bool(origin) and Path(str(origin)).is_relative_to(folder) and "site-packages" not in str(origin)


def _plain(job: Job) -> Job:
    """The job made of nothing but our declarations and plain values: workers, who lack the file, read it too."""
    return Job.model_validate(job.model_dump(mode="json"))


def _place(path: str, error: BaseException) -> str:
    """The job file and the line in it that ended it; where a module beside it raised, that place too."""
    if isinstance(error, SyntaxError) and error.lineno and error.filename:
        deepest, line = error.filename, error.lineno
        lines = [*_lines(error.__traceback__, path), *([line] if deepest == path else [])]
        inner = f"{Path(deepest).name}:{line}" if deepest != path else ""
    else:
        lines = _lines(error.__traceback__, path)
        inner = _inner(error.__traceback__, path)
    return path + (f":{lines[-1]}" if lines else "") + (f" ({inner})" if inner else "")


def _lines(trace: TracebackType | None, path: str) -> list[int]:
    return [frame.lineno or 0 for frame in traceback.extract_tb(trace) if frame.filename == path]


def _inner(trace: TracebackType | None, path: str) -> str:
    """The last place in a file beside the job's, where the job's is not the last of the user's own."""
    folder = Path(path).resolve().parent
    own = [frame for frame in traceback.extract_tb(trace) if Path(frame.filename).resolve().is_relative_to(folder)]
    own = [frame for frame in own if "site-packages" not in frame.filename]
    if not own or own[-1].filename == path:
        return ""
    return f"{Path(own[-1].filename).name}:{own[-1].lineno}"


def _told(error: BaseException) -> str:
    """The exception's class and its first line, if it has one."""
    said = error.msg if isinstance(error, SyntaxError) else (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def load_scale(path: str | None) -> Scale:
    """Return the profile at `path`; None is the built-in one, which is a laptop's."""
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
