"""The path of a user with a cluster: `ray start --head`, then `ray job submit`, with a token; the store is on S3.

The cluster's nodes know the package's dependencies and not the package, as those of cluster/aws/cluster.yaml do.
"""

import json
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import command
import pytest
import ray_head
from ray_head import Head
from s3_servers import S3Server

from rayograph.storage import open_store

REPORT = "report.html"
STAGES = {"pack", "train_autoencoder", "encode", "train_diffusion", "sample", "evaluate"}


@dataclass(frozen=True)
class Run:
    """The digits job, submitted and finished."""

    shown: str
    log: list[str]
    store: str


@pytest.fixture(scope="module")
def head(any_s3: S3Server) -> Iterator[Head]:
    """Its processes have the server's credentials, as nodes of a cloud have theirs."""
    with ray_head.ray_head(cpus=2) as head:
        yield head


@pytest.fixture(scope="module")
def finished(head: Head, any_s3: S3Server) -> Run:
    return _submit_digits(head, f"{any_s3.new_bucket()}/prefix", any_s3, "first")


def _submit_digits(head: Head, store: str, server: S3Server, submission: str) -> Run:
    """README's command, but for the store and the tiny settings."""
    done = head.submit(
        *["python", *command.arguments("", store, "--endpoint-url", server.endpoint_url)[1:]],
        working_dir=command.ROOT,
        options=["--submission-id", submission],
        timeout=600,
    )
    assert done.exit_code == 0, done.shown[-6000:]
    return Run(done.shown, _log(head, submission), store)


def _log(head: Head, submission: str) -> list[str]:
    answer = head.get(f"/api/jobs/{submission}/logs", head.token)
    return str(json.loads(answer.body)["logs"]).strip().splitlines()


def _exit_code(head: Head, submission: str) -> int:
    return int(json.loads(head.get(f"/api/jobs/{submission}", head.token).body)["driver_exit_code"])


def test_the_whole_job_runs_on_the_cluster_and_ends_with_the_report(finished: Run, any_s3: S3Server) -> None:
    assert "succeeded" in finished.shown
    uri = finished.log[-1]
    assert uri.startswith(f"{finished.store}/")
    assert uri.endswith(f"/{REPORT}")
    held = open_store(finished.store, any_s3.endpoint_url)
    assert held.read(uri.removeprefix(f"{finished.store}/")).startswith(b"<!")
    assert not [line for line in finished.log if "Traceback" in line]


def test_what_the_job_committed_is_whole(finished: Run, any_s3: S3Server) -> None:
    told = command.verified(finished.store, AWS_ENDPOINT_URL=any_s3.endpoint_url)
    assert told.count("whole") == len(STAGES)
    names = [info.key.split("/") for info in open_store(finished.store, any_s3.endpoint_url).list("digits/")]
    assert {stage for _, stage, _, *name in names if name == ["manifest.json"]} == STAGES


def test_the_job_took_the_sources_along_and_neither_history_nor_tests(head: Head, finished: Run) -> None:
    folders = list((head.folder / "r").glob("session_2*/runtime_resources/working_dir_files/_ray_pkg_*"))
    (taken,) = (folder for folder in folders if folder.is_dir())
    names = {str(path.relative_to(taken)) for path in taken.rglob("*")}
    assert {"platform/rayograph/cli/__init__.py", "jobs/digits.py", "cluster/laptop/scale.yaml"} <= names
    assert not names & {".git", ".venv", "tests", "runs"}
    assert sum(path.stat().st_size for path in taken.rglob("*") if path.is_file()) < 4_000_000


def test_the_same_submission_again_finds_everything_committed(head: Head, finished: Run, any_s3: S3Server) -> None:
    again = _submit_digits(head, finished.store, any_s3, "second")
    assert again.log[-1] == finished.log[-1]
    assert len([line for line in again.log if "committed before" in line]) == len(STAGES)


def test_the_jobs_api_refuses_who_has_no_token_or_a_wrong_one(head: Head) -> None:
    for path in ("/api/jobs/", "/api/version", "/api/v0/nodes"):
        assert head.get(path, None).status == 401, path
        assert head.get(path, "0" * 64).status == 403, path
        assert head.get(path, head.token).status == 200, path


def test_a_submission_without_the_token_runs_nothing(head: Head) -> None:
    told = head.folder / "told"
    line = [sys.executable, *ray_head.RAY, "job", "submit", "--address", head.url, "--", "touch", str(told)]
    stranger = head.client | {"RAY_AUTH_TOKEN_PATH": str(head.folder / "none"), "RAY_AUTH_TOKEN": "0" * 64}
    done = subprocess.run(line, env=stranger, capture_output=True, text=True, timeout=600)
    assert done.returncode != 0
    assert not told.exists()


def test_a_relative_store_inside_a_job_is_refused_in_one_line(head: Head) -> None:
    done = head.submit(
        *["python", *command.arguments(":pack", "runs")[1:]],
        working_dir=command.ROOT,
        options=["--submission-id", "relative"],
        timeout=600,
    )
    assert done.exit_code != 0
    assert _exit_code(head, "relative") == 2
    (line,) = (line for line in _log(head, "relative") if line.startswith("rayograph: "))
    assert "store: expected an absolute path or a URI" in line
    assert "'runs'" in line


PROBE = """
    import json
    from rayograph.config import Scale
    from rayograph.pipeline.ray_cluster import connect

    connect(Scale())  # the laptop's profile: RAY_ADDRESS alone says which cluster
    import ray

    @ray.remote
    def where():
        import os, rayograph.pipeline.runner
        return [rayograph.__file__, rayograph.pipeline.runner.__file__, os.getcwd()]

    import rayograph
    print(json.dumps({"driver": rayograph.__file__, "worker": ray.get(where.remote())}))
"""


def test_the_package_travels_from_a_driver_that_joins_the_cluster(head: Head, tmp_path: Path) -> None:
    probe = tmp_path / "probe.py"
    probe.write_text(textwrap.dedent(PROBE))
    done = subprocess.run(
        [sys.executable, str(probe)],
        env=head.client | {"RAY_ADDRESS": head.address},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert Path(found["driver"]).is_relative_to(command.ROOT)
    for file in found["worker"][:2]:
        assert "/runtime_resources/py_modules_files/" in file
        assert Path(file).is_relative_to(head.folder)


def test_what_a_submitted_job_brings_itself_stays(head: Head, tmp_path: Path) -> None:
    (tmp_path / "probe.py").write_text(textwrap.dedent(PROBE))
    brought = {"py_modules": [str(command.ROOT / "platform" / "rayograph")], "excludes": ["*.md"]}
    done = head.submit(
        *["python", "probe.py"],
        working_dir=tmp_path,
        options=["--submission-id", "probe", "--runtime-env-json", json.dumps(brought)],
        timeout=300,
    )
    assert done.exit_code == 0, done.shown
    found = json.loads(_log(head, "probe")[-1])
    for file in [found["driver"], *found["worker"][:2]]:
        assert "/runtime_resources/py_modules_files/" in file
    assert "/runtime_resources/working_dir_files/" in found["worker"][2]


def test_a_cluster_that_refuses_us_ends_the_command_in_one_line(head: Head, tmp_path: Path) -> None:
    line = [sys.executable, "-m", "rayograph", "run", "jobs/digits.py:pack", "--store", str(tmp_path / "store")]
    stranger = head.client | {"RAY_ADDRESS": head.address, "RAY_AUTH_TOKEN": "0" * 64}
    done = subprocess.run(line, cwd=command.ROOT, env=stranger, capture_output=True, text=True, timeout=600)
    assert done.returncode == 2, done.stderr
    assert f"rayograph: {head.address}: " in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
