"""A cluster started on this machine: for this machine, and for whoever holds its token."""

import ipaddress
import os
import subprocess
import sys
from pathlib import Path

import command
import psutil
import pytest
import ray

from rayograph.config import RayCluster, Scale
from rayograph.errors import ResourceError
from rayograph.pipeline.ray_cluster import connect

JOIN = """
import logging, sys, ray
ray.init(address=sys.argv[1], log_to_driver=False, logging_level=logging.ERROR)
print(ray.get(ray.remote(num_cpus=0)(lambda: "joined").remote()))
"""


def join(home: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Another process on this machine, which knows where the cluster listens; of tokens, it has what it is given."""
    return subprocess.run(
        [sys.executable, "-c", JOIN, ray.get_runtime_context().gcs_address],
        env=command.environment(
            HOME=str(home),
            RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER="0",  # otherwise Ray looks for 127.0.0.1 at this machine's other address
            RAY_NUM_REDIS_GET_RETRIES="2",
            **variables,
        ),
        capture_output=True,
        text=True,
        timeout=600,
    )


@pytest.mark.usefixtures("cluster")
def test_who_holds_the_token_can_join(tmp_path: Path) -> None:
    done = join(tmp_path, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=os.environ["RAY_AUTH_TOKEN"])
    assert done.stdout.strip() == "joined", done.stderr


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize(
    "stranger",
    [{}, {"RAY_AUTH_MODE": "disabled"}, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}],
    ids=["no token", "no authentication", "a wrong token"],
)
def test_who_does_not_hold_the_token_cannot_join(stranger: dict[str, str], tmp_path: Path) -> None:
    done = join(tmp_path, **stranger)
    assert done.returncode != 0
    assert "joined" not in done.stdout
    assert "InvalidAuthToken" in done.stderr


@pytest.mark.usefixtures("cluster")
def test_the_token_is_fresh_and_not_left_in_a_file(tmp_path: Path) -> None:
    token = os.environ["RAY_AUTH_TOKEN"]
    assert len(token) == 64
    kept = Path.home() / ".ray" / "auth_token"
    assert not kept.exists() or kept.read_text() != token


@pytest.mark.usefixtures("cluster")
def test_no_port_is_open_beyond_this_machine() -> None:
    ray.get([ray.remote(num_cpus=0.5)(lambda: None).remote() for _ in range(4)])  # workers open ports too
    listening = {
        (process.name(), connection.laddr.ip)
        for process in [psutil.Process(), *psutil.Process().children(recursive=True)]
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert {"gcs_server", "raylet"} <= {name for name, _ in listening}
    assert not [(name, address) for name, address in listening if not is_loopback(address)]


def is_loopback(address: str) -> bool:
    """Linux tells of a port for IPv4 that was opened through IPv6 as ::ffff:127.0.0.1."""
    parsed = ipaddress.ip_address(address)
    mapped = getattr(parsed, "ipv4_mapped", None)
    return (mapped or parsed).is_loopback


@pytest.mark.usefixtures("cluster")
def test_a_command_starts_its_own_cluster_whatever_else_runs_here(tmp_path: Path) -> None:
    """Ray's own default would join any cluster of this machine."""
    probe = (
        "import ray, rayograph.config, rayograph.pipeline.ray_cluster\n"
        "rayograph.pipeline.ray_cluster.connect(rayograph.config.Scale())\n"
        "print(ray.get_runtime_context().gcs_address)"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe],
        env=command.environment(HOME=str(tmp_path)),
        capture_output=True,
        text=True,
        timeout=600,
        check=True,
    )
    assert done.stdout.strip() != ray.get_runtime_context().gcs_address
    assert not (tmp_path / ".ray").exists()


def test_an_address_for_submitting_jobs_is_no_cluster_to_join(monkeypatch: pytest.MonkeyPatch) -> None:
    """Users leave RAY_ADDRESS set for `ray job submit`."""
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:8265")
    with pytest.raises(ResourceError, match=r"RAY_ADDRESS: expected .* got http://127\.0\.0\.1:8265"):
        connect(Scale())


def test_a_profile_whose_cluster_is_not_there_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing_there(**_: object) -> None:
        raise ConnectionError("Could not find any running Ray instance")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", nothing_there)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(ResourceError, match="auto: no Ray cluster answers there"):
        connect(Scale(ray=RayCluster(address="auto")))
