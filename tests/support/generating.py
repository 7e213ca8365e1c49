"""Batch generations run as a user runs them: a job file of one stage, in a process of its own."""

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import command

from rayograph.runs.artifact import Artifact
from rayograph.storage import open_store

JOB = """
from rayograph.config import Job, Marking, Request, Sample, Sampler, ImageFile
job = Job(name="many", stages={{"sample": Sample(model="{model}", sampler=Sampler(num_inference_steps=4), {asked})}})
"""
SCALE = """
ray: {{address: "{address}", local_cpus: 4}}
sampling: {{replicas: {replicas}, cpus_per_replica: 0.5, batch_size: {batch_size}, {more}}}
"""


def write_job(folder: Path, model: str, asked: str) -> Path:
    """A job file that draws what is asked from a committed model."""
    file = folder / "many.py"
    file.write_text(JOB.format(model=model, asked=asked))
    return file


def write_scale(
    folder: Path, replicas: str = "2", batch_size: int = 16, address: str = "local", more: str = "idle_seconds: 30"
) -> Path:
    file = folder / "scale.yaml"
    file.write_text(SCALE.format(replicas=replicas, batch_size=batch_size, address=address, more=more))
    return file


def arguments(job: Path, scale: Path, store: str | Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "rayograph", "run", str(job), "--on", str(scale), "--store", str(store), *more]


def generate(
    job: Path, scale: Path, store: str | Path, *more: str, timeout: float = 600
) -> "subprocess.CompletedProcess[str]":
    """To its end, whatever that is."""
    return subprocess.run(
        arguments(job, scale, store, *more), cwd=command.ROOT, env=command.environment(), capture_output=True,
        text=True, timeout=timeout,
    )  # fmt: skip


@contextmanager
def generating(job: Path, scale: Path, store: str | Path, log: Path, *more: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Under way, standard error in `log`; whatever is left of it is killed at the end."""
    with command.started(arguments(job, scale, store, *more), log) as process:
        yield process


@contextmanager
def held(artifact: Path, unit: int) -> Iterator[None]:
    """A unit that cannot land while the block lasts, as something stands in its shard's place: the job has no end then.

    Its attempts fail meanwhile, of which the profile must allow enough.
    """
    place = artifact / "shards" / f"samples-{unit:06d}.tar"
    place.mkdir(parents=True)
    (place / "something").touch()
    try:
        yield
    finally:
        shutil.rmtree(place)


def artifact_in(store: str | Path, endpoint_url: str | None = None) -> Artifact:
    """The one generation in a store."""
    opened = open_store(str(store), endpoint_url)
    (path,) = {"/".join(info.key.split("/")[:3]) for info in opened.list("many/sample/")}
    return Artifact(opened, path)


def digests(artifact: Artifact) -> dict[str, str]:
    """Of shards and indices, by name."""
    return {name: hashlib.sha256(artifact.read(name)).hexdigest() for name in artifact.names("shards/")}
