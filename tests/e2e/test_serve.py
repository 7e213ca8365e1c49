"""`rayograph serve` in a process of its own: jobs drawn by a real model, everything killed, the next app going on."""

import json
import shlex
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import psutil
import pytest
from command import ROOT, environment
from generating import held
from s3_servers import free_port

from rayograph.cli import main

TOKEN = "a-long-enough-token-0123456789"


class App:
    """The command, once it has said where it listens, and what it answers."""

    def __init__(self, store, port, log, *more):
        self.port, self.log = port, log
        command = [sys.executable, "-m", "rayograph", "serve", "--store", str(store), "--port", str(port), *more]
        with log.open("wb") as stream:
            self.process = subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=stream)
        line = self.process.stdout.readline().decode().strip()
        assert line == f"http://127.0.0.1:{port}/", log.read_text()[-3000:]

    def ask(self, path, body=None, token=TOKEN):
        data = None if body is None else json.dumps(body).encode()
        headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {token}"} if token else {})
        try:
            with urlopen(Request(f"http://127.0.0.1:{self.port}{path}", data, headers), timeout=600) as answer:
                return answer.status, answer.read()
        except HTTPError as error:
            return error.code, error.read()

    def get(self, path, body=None):
        status, data = self.ask(path, body)
        assert status in (200, 201), data
        return json.loads(data)

    def until(self, job, condition, seconds=600):
        deadline = time.monotonic() + seconds
        while not condition(found := self.get(f"/v1/jobs/{job}")):
            assert not found["error"], found
            assert time.monotonic() < deadline, found
            time.sleep(0.2)
        return found

    def kill(self):
        """It and the whole cluster below it, without a word."""
        with suppress(psutil.NoSuchProcess):
            for process in psutil.Process(self.process.pid).children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    process.kill()
        self.process.kill()
        self.process.wait()


@contextmanager
def serving(*arguments):
    """Interrupted at the end, as by Ctrl-C, which is no failure."""
    app = App(*arguments)
    try:
        yield app
        if app.process.poll() is None:
            app.process.send_signal(signal.SIGINT)
            assert app.process.wait(600) == 0, app.log.read_text()[-3000:]
    finally:
        app.kill()


def test_a_job_goes_on_by_itself_after_the_loss_of_everything_and_its_images_come_out_the_same(new_store, tmp_path):
    store, port, token = new_store("served"), free_port(), tmp_path / "token"
    token.write_text(TOKEN + "\n")
    token.chmod(0o644)
    options = ("--token-file", str(token), "--on", "cluster/laptop/scale.yaml")
    with serving(store, port, tmp_path / "first", *options) as app:
        assert app.ask("/v1/jobs", token=None)[0] == 401
        (model,) = app.get("/v1/models")
        rows = [{"class": "3", "count": 200, "seed": 5}, {"class": 7, "count": 200}]
        body = {"model": model["name"], "rows": rows, "unit_size": 8, "sampler": {"num_inference_steps": 10}}
        for bad, status in (
            ({"rows": [{"class": "eleven"}]}, 422),
            ({"rows": [{"class": 3, "width": 31}]}, 422),
            ({"rows": [{"class": 3, "count": -1}]}, 422),
            ({"model": "digits"}, 422),
            ({"name": "x" * (1 << 20)}, 413),
        ):
            answer, data = app.ask("/v1/jobs", body | bad)
            assert answer == status, data
            assert data.count(b"\n") == 0
        assert not (store / "gallery").exists()
        job = app.get("/v1/jobs", body)["job"]["id"]
        with held(store / job.replace("~", "/"), 49):  # the last of all
            before = app.until(job, lambda found: found["samples"] >= 16)
            assert not before["committed"]
            app.kill()
    assert "others may read this token" in (tmp_path / "first").read_text()
    with serving(store, port, tmp_path / "second", *options) as app:
        done = app.until(job, lambda found: found["committed"])
        assert (done["samples"], done["phase"]) == (400, "done")
        assert not app.get("/v1/jobs", body)["created"]
        sevens = app.get(f"/v1/jobs/{job}/images?class=7&start=300&limit=2")
        assert [(frame["number"], frame["state"]) for frame in sevens["images"]] == [(300, "drawn"), (301, "drawn")]
        again = app.get(f"/v1/jobs/{job}/images/300/again", {})
        assert again["largest_difference"] <= 1  # drawn alone instead of in a batch: rounding, no more
        lineage = app.get(f"/v1/jobs/{job}/images/300/lineage")
        status, data = app.ask(f"/v1/jobs/{job}/images/300")
        assert status == 200
    _, _, name, *rest = shlex.split(lineage["command"])
    (tmp_path / name).write_bytes(data)
    traced = [sys.executable, "-m", "rayograph", "trace", str(tmp_path / name), *rest]
    told = subprocess.run(traced, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=300, check=False)
    assert told.returncode == 0, told.stderr
    assert "the same pixels" in told.stdout or "differ by up to 1 of 255" in told.stdout
    assert all(TOKEN not in (tmp_path / log).read_text() for log in ("first", "second"))


@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.1", "gallery.example"])
def test_no_other_host_than_loopback_without_a_token(capsys, monkeypatch, host):
    monkeypatch.delenv("RAYOGRAPH_TOKEN", raising=False)
    assert main(["serve", "--host", host]) == 2
    assert capsys.readouterr().err.splitlines() == [
        f"rayograph: --host: expected 127.0.0.1, or a token (--token-file, RAYOGRAPH_TOKEN) beside it, got {host}"
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [(None, "No such file"), ("hunter2", "expected a token of 16"), ("x" * 15 + " y", "expected a token of 16")],
)
def test_a_short_or_missing_token_is_refused_without_being_repeated(capsys, tmp_path, text, expected):
    token = tmp_path / "token"
    if text is not None:
        token.write_text(text)
    assert main(["serve", "--token-file", str(token)]) == 2
    said = capsys.readouterr().err
    assert expected in said
    assert text is None or text not in said
