"""A replica killed with SIGKILL while it draws: the stage ends as if nothing had happened."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import command
import pytest
from killing import killing

from rayograph.config import Job, Scale
from rayograph.config.reading.files import load_job
from rayograph.config.reading.overrides import apply_overrides
from rayograph.pipeline.runner import run_job
from rayograph.runs.artifact import Artifact
from rayograph.shards.shard_index import SUFFIX
from rayograph.storage import open_store

pytestmark = pytest.mark.usefixtures("cluster")


@pytest.fixture(scope="module")
def job() -> Job:
    """The job of `trained_store`, so that its artifacts are found."""
    changed, _ = apply_overrides(load_job("jobs/digits.py"), Scale(), command.TINY[1::2])
    return changed


def test_a_killed_replica_loses_no_sample(job: Job, scale: Scale, new_store: Callable[[str], Path]) -> None:
    disturbed, quiet = new_store("disturbed"), new_store("quiet")
    enough, scale = apply_overrides(job, scale, ["sample.num_samples=480", "scale.sampling.batch_size=16"])
    killer = killing("ray::ServeReplica", lambda: any(disturbed.glob(f"digits/sample/*/shards/*{SUFFIX}")))
    drawn = Artifact(open_store(run_job(enough, scale.model_copy(update={"store": str(disturbed)}), "sample")), "")
    killer.join(60)
    assert not killer.is_alive()
    assert drawn.committed().samples == 480
    assert not list(drawn.problems(drawn.committed()))
    _, one = apply_overrides(job, scale, ["scale.sampling.replicas=1"])
    undisturbed = run_job(enough, one.model_copy(update={"store": str(quiet)}), "sample")
    assert digests(Path(drawn.uri) / "shards") == digests(Path(undisturbed) / "shards")


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
