"""What is leant on beyond Ray's public interface is there in the Ray that is installed, and does what is said of it."""

import inspect
import json
import os
import subprocess
import sys
import time

import pytest
import ray
from ray._private import ray_constants, services, worker
from ray._private.runtime_env.constants import RAY_JOB_CONFIG_JSON_ENV_VAR
from ray._private.state import GlobalState
from ray.data import DataContext
from ray.data._internal.execution.execution_callback import ExecutionCallback
from ray.data._internal.execution.streaming_executor import StreamingExecutor
from ray.exceptions import RayTaskError
from ray.serve.config import HTTPOptions
from ray.serve.context import _get_global_client
from ray.train import ControllerError, WorkerGroupError
from ray.train.v2._internal.exceptions import UserExceptionWithTraceback, WorkerGroupStartupTimeoutError

from rayograph import ray_compat
from rayograph.errors import DataError


def test_a_submitted_jobs_variable_is_rays_and_the_command_is_known_by_it(monkeypatch):
    assert ray_compat.JOB_VARIABLE == RAY_JOB_CONFIG_JSON_ENV_VAR
    monkeypatch.delenv(ray_compat.JOB_VARIABLE, raising=False)
    assert not ray_compat.inside_submitted_job()
    assert ray_compat.submitted_runtime_env() == {}
    environment = {"env_vars": {"A": "1"}}
    monkeypatch.setenv(ray_compat.JOB_VARIABLE, json.dumps({"runtime_env": environment}))
    assert ray_compat.inside_submitted_job()
    assert ray_compat.submitted_runtime_env() == environment


@pytest.mark.parametrize("said", ["{}", '{"runtime_env": null}'])
def test_a_job_that_was_submitted_without_a_runtime_environment_has_an_empty_one(monkeypatch, said):
    monkeypatch.setenv(ray_compat.JOB_VARIABLE, said)
    assert ray_compat.submitted_runtime_env() == {}


def test_a_drivers_environment_wins_where_ray_would_refuse_to_merge_two(monkeypatch):
    monkeypatch.delenv("RAY_OVERRIDE_JOB_RUNTIME_ENV", raising=False)
    jobs, drivers = {"py_modules": ["a"]}, {"py_modules": ["b", "a"]}
    assert worker._merge_runtime_env(jobs, drivers, override=False) is None
    assert worker._merge_runtime_env(jobs, drivers, override=True)["py_modules"] == ["b", "a"]
    ray_compat.override_submitted_runtime_env()
    assert os.environ.pop("RAY_OVERRIDE_JOB_RUNTIME_ENV") == "1"
    assert 'os.getenv("RAY_OVERRIDE_JOB_RUNTIME_ENV") == "1"' in inspect.getsource(worker)


def test_a_cluster_that_starts_here_takes_the_loopback_for_this_machines_address(monkeypatch):
    monkeypatch.setattr(ray_constants, "ENABLE_RAY_CLUSTER", True)
    monkeypatch.setattr(services, "node_ip_address_from_perspective", lambda *_: "10.1.2.3")
    monkeypatch.setattr(worker, "_global_node", None)
    assert services.get_node_ip_address() == "10.1.2.3"
    ray_compat.listen_on_loopback()
    assert services.get_node_ip_address() == "127.0.0.1"


def test_draining_nodes_are_those_that_rays_state_knows(monkeypatch):
    monkeypatch.setattr(GlobalState, "get_draining_nodes", lambda self: {"ab12": 0, "cd34": 1_700_000_000_000})
    assert ray_compat.draining_nodes() == {"ab12", "cd34"}


def test_serve_listens_where_its_client_says(monkeypatch):
    from ray.serve import context

    client = type("Client", (), {"http_config": HTTPOptions(host="127.0.0.1", port=8123)})()
    monkeypatch.setattr(context, "_get_global_client", lambda: client)
    assert ray_compat.serve_address() == ("127.0.0.1", 8123)
    assert "http_config" in vars(type(_a_client()))


def _a_client():
    from ray.serve._private.client import ServeControllerClient

    assert "ServeControllerClient" in str(inspect.signature(_get_global_client).return_annotation)
    return ServeControllerClient.__new__(ServeControllerClient)


def test_workers_that_were_not_there_in_time_are_told_from_those_that_failed():
    assert ray_compat.workers_never_started(ControllerError(WorkerGroupStartupTimeoutError(4)))
    assert not ray_compat.workers_never_started(ControllerError(ValueError("else")))
    assert not ray_compat.workers_never_started(WorkerGroupError("died", {0: ValueError("else")}))


def test_what_a_worker_raised_is_found_within_all_that_ray_wraps_around_it():
    mine = DataError("samples: expected some, got none")
    wrapped = WorkerGroupError("failed", {0: ValueError("else"), 1: UserExceptionWithTraceback(mine, "Traceback")})
    assert mine in list(ray_compat.wrapped_errors(wrapped))
    assert mine in list(ray_compat.wrapped_errors(ControllerError(wrapped)))


def test_what_a_task_raised_is_within_rays_error_and_a_circle_of_causes_ends():
    mine = DataError("one line")
    assert list(ray_compat.wrapped_errors(RayTaskError("work", "Traceback", mine)))[1] is mine
    assert ray_compat.raised_in_task(RayTaskError("work", "Traceback", mine)) is mine
    assert ray_compat.raised_in_task(RayTaskError("work", "Traceback", mine).as_instanceof_cause()) is mine
    assert ray_compat.raised_in_task(mine) is mine
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one
    assert list(ray_compat.wrapped_errors(one)) == [one, other]


def test_ray_data_takes_the_pause_for_a_callback_of_its_own_and_calls_it_every_round():
    names = {name for name in vars(ExecutionCallback) if not name.startswith("_")}
    for name in names:
        mine, theirs = (
            inspect.signature(getattr(kind, name)) for kind in (ray_compat.PauseBetweenRounds, ExecutionCallback)
        )
        assert list(mine.parameters) == list(theirs.parameters), name
    context = DataContext()
    ray_compat.pause_between_rounds(context)
    assert ray_compat.PauseBetweenRounds in context.execution_callback_classes
    assert "callback.on_execution_step(self)" in inspect.getsource(StreamingExecutor)


def test_a_round_that_took_long_goes_on_at_once_and_a_quick_one_waits(monkeypatch):
    now, slept = [100.0], []
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(time, "sleep", slept.append)
    pause = ray_compat.PauseBetweenRounds()
    for after in (0.0, 0.01, 5.0):
        now[0] += after
        pause.on_execution_step(None)
    assert slept == pytest.approx([0.0, ray_compat.SCHEDULING_PAUSE_SECONDS - 0.01, 0.0])


def test_it_was_written_for_the_ray_that_is_installed_and_imports_nothing_of_it():
    assert ray.__version__.startswith("2.60."), "read ray_compat.py again for this Ray, and say so in it"
    program = "import sys, rayograph.ray_compat; print('ray' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=600)
    assert done.stdout.strip() == "False"
