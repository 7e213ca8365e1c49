"""Joining a Ray cluster, or starting one on this machine for the length of a command."""

import logging
import os
import secrets
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import rayograph
from rayograph.config import Scale, extensions
from rayograph.config.address import LOCAL
from rayograph.errors import ResourceError
from rayograph.ray_compat import RuntimeEnv, listen_on_loopback, override_submitted_runtime_env, submitted_runtime_env


def connect(scale: Scale) -> None:
    """Join or start a cluster, once. Inside a submitted job, or with RAY_ADDRESS set, it is that one.

    On a joined cluster this very package travels to the workers (`py_modules`), so nodes need its dependencies only.
    A cluster started here answers to this machine alone, and only to those who hold its token.
    """
    address = os.environ.get("RAY_ADDRESS") or scale.ray.address
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
    # Ray's core writes what its developers want to know to standard error, over the progress line, even that it was
    # told not to. What goes wrong at the start comes as an exception all the same.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    if address != LOCAL:
        os.environ.setdefault("RAY_NUM_REDIS_GET_RETRIES", "3")  # Ray's 20 are 13 minutes where nothing answers
    import ray

    if ray.is_initialized():
        return
    with _own_signals():
        if address == LOCAL:
            _start(scale)
        else:
            _join(address)
    _quieten()


def _start(scale: Scale) -> None:
    import ray

    listen_on_loopback()
    # Other users of this machine still reach the ports. A started cluster asks for a token of its own accord: this
    # one, instead of the one in ~/.ray, which Ray would leave readable to all.
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    with _without_standard_error():
        ray.init(
            address=LOCAL,
            num_cpus=scale.ray.local_cpus or os.cpu_count(),
            runtime_env=_extensions() or None,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )


@contextmanager
def _without_standard_error() -> Iterator[None]:
    kept = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _join(address: str) -> None:
    import ray
    from ray.exceptions import AuthenticationError

    if "://" in address:
        raise ResourceError(
            f"RAY_ADDRESS: expected a cluster's address such as auto or 10.0.0.1:6379, got {address}: "
            "from outside a cluster, `ray job submit` brings this command in"
        )
    try:
        ray.init(address=address, runtime_env=_runtime_env(), log_to_driver=False, logging_level=logging.ERROR)
    except AuthenticationError as error:
        raise ResourceError(
            f"{address}: this cluster asks for a token: set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN_PATH to its file"
        ) from error
    except ConnectionError as error:
        raise ResourceError(
            f"{address}: no Ray cluster answers there, or it refuses our token (RAY_AUTH_MODE, RAY_AUTH_TOKEN_PATH)"
        ) from error


@contextmanager
def _own_signals() -> Iterator[None]:
    """The command's own answers to Ctrl-C and SIGTERM stay: Ray would dump a trace and die, nothing put in order."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    if threading.current_thread() is threading.main_thread():
        for number, handler in before.items():
            signal.signal(number, handler)


def _runtime_env() -> RuntimeEnv:
    """This package and what extends it, beside what a submitted job brings already."""
    job, added = submitted_runtime_env(), _extensions()
    if {"py_modules", "excludes", *added} & job.keys():
        override_submitted_runtime_env()  # Ray merges no lists: ours, below, hold the job's
    made: RuntimeEnv = {
        "py_modules": [str(Path(rayograph.__file__).parent), *added.get("py_modules", []), *job.get("py_modules", [])],
        "excludes": ["__pycache__", ".env", ".netrc", *job.get("excludes", [])],
    }
    if added:
        made["env_vars"] = job.get("env_vars", {}) | added["env_vars"]
    return made


def _extensions() -> RuntimeEnv:
    """The modules that register kinds, and the variable by which a worker knows them; nothing where there are none."""
    extensions.load()
    if not extensions.names():
        return {}
    names = os.pathsep.join(extensions.names())
    return {"py_modules": [str(file) for file in extensions.files()], "env_vars": {extensions.VARIABLE: names}}


def _quieten() -> None:
    """Ray's libraries set their own loggers when imported; what they say of every data set is not for our users."""
    import ray.data
    import ray.serve
    import ray.train

    for name in (ray.data.__name__, ray.serve.__name__, ray.train.__name__):
        logging.getLogger(name).setLevel(logging.ERROR)
