"""Workers and replicas killed with SIGKILL while they work: the stage ends as if nothing had happened."""

import hashlib
import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from rayograph.config import Job, Scale
from rayograph.config.files import load_job
from rayograph.config.overrides import apply_overrides
from rayograph.runs.artifact import Artifact
from rayograph.shards.index import SUFFIX
from rayograph.stages.pipeline import run_job
from rayograph.storage import open_store

pytestmark = pytest.mark.usefixtures("cluster")
TINY = [
    "train_autoencoder.total_images=1920",
    "train_autoencoder.loss.discriminator_start_images=960",
    "train_autoencoder.checkpoint_every_images=320",
    "train_autoencoder.log_every_images=64",
    "train_diffusion.total_images=640",
    "sample.num_samples=160",
    "sample.unit_size=16",
]


@pytest.fixture(scope="module")
def job() -> Job:
    changed, _ = apply_overrides(load_job("jobs/digits.py"), Scale(), TINY)
    return changed


def processes(name: str) -> list[int]:
    """Ray's worker processes on this machine, started from here, whose title begins with `name`."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if process.cmdline() and process.cmdline()[0].startswith(name):
                found.append(process.pid)
        except psutil.NoSuchProcess:
            continue
    return found


def killing(name: str, when: Callable[[], bool]) -> threading.Thread:
    """A thread that waits for `when`, and kills one process of that name."""

    def work() -> None:
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline and not (when() and processes(name)):
            time.sleep(0.05)
        os.kill(processes(name)[-1], signal.SIGKILL)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_a_killed_training_worker_costs_nothing_but_time(job: Job, scale: Scale, tmp_path: Path) -> None:
    quiet, disturbed = (scale.model_copy(update={"store": str(tmp_path / name)}) for name in ("quiet", "disturbed"))
    expected = Artifact(open_store(run_job(job, quiet, "train_autoencoder")), "")

    def checkpointed() -> bool:
        return any(Path(disturbed.store).glob("digits/train_autoencoder/*/checkpoints/*/checkpoint.json"))

    killer = killing("ray::RayTrainWorker", checkpointed)
    found = Artifact(open_store(run_job(job, disturbed, "train_autoencoder")), "")
    killer.join(1)
    assert not killer.is_alive()
    assert not list(found.problems(found.committed()))
    assert [record.sha256 for record in found.records("model/")] == [
        record.sha256 for record in expected.records("model/")
    ]
    seen = [json.loads(line)["images_seen"] for line in found.read("metrics.jsonl").splitlines()]
    assert seen == list(range(64, 1920 + 1, 64))


def test_a_killed_replica_loses_no_sample(
    job: Job, scale: Scale, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here = scale.model_copy(update={"store": str(tmp_path)})
    run_job(job, here, "train_diffusion")
    shards = f"digits/sample/*/shards/*{SUFFIX}"
    killer = killing("ray::ServeReplica", lambda: any(tmp_path.glob(shards)))
    drawn = Artifact(open_store(run_job(job, here, "sample")), "")
    killer.join(1)
    assert not killer.is_alive()
    manifest = drawn.committed()
    assert manifest.samples == 160
    assert not list(drawn.problems(manifest))
    before = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in Path(drawn.uri).glob("shards/*")}
    # One replica, undisturbed, in a store of its own: the same bytes.
    drawn.store.delete("manifest.json")
    for name in drawn.names("shards/"):
        drawn.store.delete(name)
    sampling = here.sampling.model_copy(update={"replicas": 1})
    run_job(job, here.model_copy(update={"sampling": sampling}), "sample")
    after = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in Path(drawn.uri).glob("shards/*")}
    assert before == after
