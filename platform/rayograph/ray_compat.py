"""What reaches beyond Ray's public interface: a function each, by Ray 2.60, and a test each that fails when it moves.

Ray is imported where it is used: declarations and the command line come by here, and must stay light.
"""

import json
import os
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from ray.data import DataContext

JOB_VARIABLE = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""By Ray 2.60 (`ray._private.runtime_env.constants`) set for a submitted job's driver: its configuration, as JSON."""

SCHEDULING_PAUSE_SECONDS = 0.05


class RuntimeEnv(TypedDict, total=False):
    """What of Ray's runtime environments is set, or carried on, here."""

    py_modules: list[str]
    excludes: list[str]
    env_vars: dict[str, str]


def inside_submitted_job() -> bool:
    """Tell whether `ray job submit` brought this command here. Ray 2.60 takes RAY_JOB_ID away from a job's driver."""
    return JOB_VARIABLE in os.environ


def submitted_runtime_env() -> RuntimeEnv:
    """Return the runtime environment that this command was submitted with, as Ray 2.60 hands it to a job's driver."""
    said: dict[str, RuntimeEnv] = json.loads(os.environ.get(JOB_VARIABLE, "{}"))
    return said.get("runtime_env") or {}


def override_submitted_runtime_env() -> None:
    """Let the driver's runtime environment win, field by field, where Ray 2.60 would refuse to merge the two."""
    os.environ["RAY_OVERRIDE_JOB_RUNTIME_ENV"] = "1"


def listen_on_loopback() -> None:
    """Make a cluster that is started here listen on 127.0.0.1 alone.

    Ray 2.60 opens every port to the network, unless it believes that this machine cannot be one node of several.
    """
    from ray._private import ray_constants

    ray_constants.ENABLE_RAY_CLUSTER = False


def draining_nodes() -> set[str]:
    """Return the hex ids of nodes that are about to go. Ray 2.60 tells it to its own libraries only."""
    from ray._private.state import state

    return set(state.get_draining_nodes())


def serve_address() -> tuple[str, int]:
    """Return where the Ray Serve that runs listens: nothing public of Ray 2.60 tells. Serve must run."""
    from ray.serve.context import _get_global_client

    options = _get_global_client().http_config
    return options.host, options.port


def workers_never_started(error: BaseException) -> bool:
    """Tell whether a group of Ray Train's workers was not there in time: nodes went, or are still coming.

    Ray 2.60 wraps it in a public ControllerError; the class of what is inside is private.
    """
    from ray.train.v2._internal.exceptions import WorkerGroupStartupTimeoutError

    return isinstance(getattr(error, "controller_failure", None), WorkerGroupStartupTimeoutError)


def raised_in_task(error: BaseException) -> BaseException:
    """Return what went wrong where a task or a replica was: Ray 2.60 hands it on as the `cause` of a RayTaskError."""
    cause: BaseException | None = getattr(error, "cause", None)
    return error if cause is None else cause


def wrapped_errors(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and all that Ray 2.60 wrapped into it, outermost first, each once.

    RayTaskError has a `cause`, Ray Train's errors `worker_failures` and `controller_failure`, and what a worker raised
    is the private `_base_exc` of another wrapper.
    """
    seen: list[BaseException] = []
    queue: list[BaseException | None] = [error]
    while queue:
        current = queue.pop(0)
        if current is None or any(current is other for other in seen):
            continue
        yield current
        seen.append(current)
        queue += [current.__cause__, *getattr(current, "worker_failures", {}).values()]
        queue += [getattr(current, name, None) for name in ("cause", "_base_exc", "controller_failure")]


def pause_between_rounds(context: "DataContext") -> None:
    """Make Ray Data pause in those rounds of its scheduling loop that had nothing to wait for.

    While a consumer has all it needs, that loop of Ray 2.60 goes round without waiting for anything: a whole core, and
    the lock of the interpreter that trains, taken from the training. A round that waited for a task goes on at once.
    """
    context.custom_execution_callback_classes = [PauseBetweenRounds]


class PauseBetweenRounds:
    """An ExecutionCallback of Ray Data 2.60, by its shape: that class is private, and imports all of Ray Data."""

    def __init__(self) -> None:
        self._last = 0.0

    def before_execution_starts(self, executor: object) -> None: ...

    def on_execution_step(self, executor: object) -> None:
        time.sleep(max(0.0, self._last + SCHEDULING_PAUSE_SECONDS - time.monotonic()))
        self._last = time.monotonic()

    def after_execution_succeeds(self, executor: object) -> None: ...

    def after_execution_fails(self, executor: object, error: Exception) -> None: ...
