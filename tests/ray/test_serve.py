"""`rayograph serve` in a process of its own, with Ray Serve and its coordinators: started, left, started again."""

import json
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import painted
import pytest
from command import ROOT, environment

TOKEN = "a-long-enough-token-0123456789"


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as found:
        return found.getsockname()[1]


@contextmanager
def serving(store, port, log, *more):
    """The command, once it has said where it listens; interrupted at the end, as by Ctrl-C."""
    command = [sys.executable, "-m", "rayograph", "serve", "--store", str(store), "--port", str(port), *more]
    with log.open("wb") as stream:
        process = subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=stream)
    try:
        line = process.stdout.readline().decode().strip()
        assert line == f"http://127.0.0.1:{port}/", log.read_text()[-3000:]
        yield process
        process.send_signal(signal.SIGINT)
        assert process.wait(120) == 0, log.read_text()[-3000:]
    finally:
        process.kill()
        process.wait()


def ask(port, path, body=None, token=TOKEN, method=None):
    data = None if body is None else json.dumps(body).encode()
    headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {token}"} if token else {})
    request = Request(f"http://127.0.0.1:{port}{path}", data, headers, method=method)
    try:
        with urlopen(request, timeout=60) as answer:
            return answer.status, json.loads(answer.read() or b"null")
    except HTTPError as error:
        return error.code, json.loads(error.read())


def settled(port, job, seconds=180):
    deadline = time.monotonic() + seconds
    while True:
        _, found = ask(port, f"/v1/jobs/{job}")
        if found.get("error"):
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.5)


@pytest.mark.timeout(900)
def test_jobs_are_taken_run_and_remembered_by_the_next_app(tmp_path):
    store, port, token = painted.new_store(tmp_path / "store"), free_port(), tmp_path / "token"
    token.write_text(TOKEN + "\n")
    token.chmod(0o644)
    body = {"model": painted.model_name(store), "num_samples": 8, "name": "empty"}
    with serving(tmp_path / "store", port, tmp_path / "log", "--token-file", str(token)):
        assert ask(port, "/v1/jobs", token=None)[0] == 401
        assert ask(port, "/v1/jobs", body | {"num_samples": -1})[0] == 422
        assert ask(port, "/v1/jobs", body | {"name": "x" * (1 << 20)})[0] == 413
        status, answer = ask(port, "/v1/jobs", body)
        assert status == 201
        job = answer["job"]["id"]
        found = settled(port, job)  # the model's folder is empty, which only its coordinator can find out
        assert found["phase"] == "failed"
        assert "\n" not in found["error"]
        assert ask(port, "/v1/jobs", body)[0] == 200
    log = (tmp_path / "log").read_text()
    assert "others may read this token" in log
    assert TOKEN not in log
    with serving(tmp_path / "store", port, tmp_path / "log"):
        status, listed = ask(port, "/v1/jobs", token=None)
        assert (status, [one["id"] for one in listed["jobs"]]) == (200, [job])
        assert ask(port, f"/v1/jobs/{job}/cancel", {}, token=None)[0] == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.1", "gallery.example"])
def test_no_other_host_than_loopback_without_a_token(host):
    command = [sys.executable, "-m", "rayograph", "serve", "--host", host]
    done = subprocess.run(
        command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        f"rayograph: --host: expected 127.0.0.1, or a token (--token-file, RAYOGRAPH_TOKEN) beside it, got {host}"
    ]


def test_a_short_or_missing_token_is_refused_without_being_repeated(tmp_path):
    token = tmp_path / "token"
    command = [sys.executable, "-m", "rayograph", "serve", "--token-file", str(token)]
    for text, expected in (
        (None, "No such file"),
        ("hunter2", "expected a token of 16"),
        ("x" * 15 + " y", "expected a token"),
    ):
        if text is not None:
            token.write_text(text)
        done = subprocess.run(
            command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 2
        assert expected in done.stderr
        assert text is None or text not in done.stderr
