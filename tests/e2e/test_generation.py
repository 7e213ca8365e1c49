"""Batch generation as its users see it: every image once, whatever happens, and each one traceable."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import command
import numpy as np
import pytest
from generating import artifact_in, digests, generate, generating, held, write_job, write_scale

from rayograph.runs.artifact import Artifact
from rayograph.sampling.job_state import JobState, ask, read_state
from rayograph.shards.pixels.decode import render
from rayograph.shards.sample import Sample
from rayograph.shards.store import read_index, read_samples

ROWS = [
    {"class": 3, "count": 9, "note": "threes"},
    {"class": 7, "seed": 5, "count": 5, "guidance_scale": 3.0},
    {"class": 1, "width": 64, "height": 32, "count": 6},
    {"class": 0, "num_inference_steps": 3, "seed": 2**64 - 1},
    {"class": 4, "count": 60, "guidance_scale": 1.0},
]
TOTAL = 81


@pytest.fixture(scope="module")
def model(trained_store: Path) -> str:
    (folder,) = (trained_store / "digits" / "train_diffusion").iterdir()
    return str(folder)


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(f"{json.dumps(row)}\n" for row in ROWS))
    return file


def asked(rows: Path, unit_size: int) -> str:
    return f'unit_size={unit_size}, request=Request(uri="{rows}", keep=("note",))'


def samples_of(artifact: Artifact) -> dict[str, Sample]:
    found = {}
    for shard in artifact.committed().shards:
        index = read_index(artifact, shard.path)
        found |= {sample.key: sample for sample in read_samples(artifact, shard.path, index, range(len(index)))}
    return found


def test_images_do_not_depend_on_batches_units_or_replicas_and_each_can_be_drawn_again(
    model: str, rows: Path, tmp_path: Path
) -> None:
    found = {}
    for batch_size, unit_size, replicas in ((1, 7, 1), (64, 64, 3)):
        store = tmp_path / f"by-{batch_size}"
        job = write_job(tmp_path, model, asked(rows, unit_size))
        done = generate(job, write_scale(tmp_path, str(replicas), batch_size), store)
        assert done.returncode == 0, done.stderr[-4000:]
        found[batch_size] = samples_of(artifact_in(store))
    alone = found.pop(1)
    assert sorted(alone) == [f"{number:09d}" for number in range(TOTAL)]
    records = {key: json.loads(sample.members["json"]) for key, sample in alone.items()}
    assert [r["class"] for _, r in sorted(records.items())] == [3] * 9 + [7] * 5 + [1] * 6 + [0] + [4] * 60
    assert records["000000020"] | {"seed": 2**64 - 1, "counter": 0, "num_inference_steps": 3} == records["000000020"]
    assert records["000000002"]["note"] == "threes"
    for others in found.values():
        assert others.keys() == alone.keys()
        for key, sample in alone.items():
            mine, theirs = render(sample.members["png"], key), render(others[key].members["png"], key)
            assert mine.shape == theirs.shape == ((32, 64, 3) if records[key]["class"] == 1 else (32, 32, 3))
            assert np.abs(mine.astype(int) - theirs).max() <= 1, key
            told = json.loads(others[key].members["json"])
            assert {name for name, value in told.items() if records[key].get(name) != value} <= {"artifact", "request"}
    image = tmp_path / "image.png"
    image.write_bytes(alone["000000011"].members["png"])
    traced = [sys.executable, "-m", "rayograph", "trace", str(image), "--store", str(tmp_path / "by-1"), "--again"]
    told_again = subprocess.run(traced, cwd=command.ROOT, env=command.environment(), capture_output=True, text=True)
    assert told_again.returncode == 0, told_again.stderr
    assert "the same pixels" in told_again.stdout
    assert records["000000011"]["model"] in told_again.stdout


def test_two_drivers_started_at_once_commit_every_shard_once(model: str, tmp_path: Path) -> None:
    job, scale = write_job(tmp_path, model, "num_samples=320, unit_size=16"), write_scale(tmp_path)
    both = tmp_path / "both"
    with (
        generating(job, scale, both, tmp_path / "log-1") as first,
        generating(job, scale, both, tmp_path / "log-2") as second,
    ):
        codes = [process.wait(500) for process in (first, second)]
    assert codes == [0, 0], (tmp_path / "log-1").read_text()[-2000:] + (tmp_path / "log-2").read_text()[-2000:]
    assert generate(job, scale, tmp_path / "alone").returncode == 0
    assert digests(artifact_in(both)) == digests(artifact_in(tmp_path / "alone"))
    assert not list(artifact_in(both).problems(artifact_in(both).committed()))


def watched(store: Path, process: "subprocess.Popen[bytes]") -> Iterator[JobState]:
    """The job's states as they come, until its process ends."""
    while process.poll() is None:
        if store.exists() and any(store.glob("many/sample/*/state.json")):
            state = read_state(artifact_in(store))
            if state is not None:
                yield state
        time.sleep(0.3)


def test_replicas_come_from_none_go_to_none_in_a_pause_and_come_back(model: str, tmp_path: Path) -> None:
    """With the real autoscaler of Ray Serve. The job is far too long to end before, on any machine."""
    job, store = write_job(tmp_path, model, "num_samples=1_000_000, unit_size=16"), tmp_path / "store"
    scale = write_scale(tmp_path, "[0, 2]", more="idle_seconds: 2")
    seen: list[tuple[str, int]] = []
    asked_for = "running"
    with generating(job, scale, store, tmp_path / "log") as process:
        for state in watched(store, process):
            if not seen or seen[-1] != (state.phase, state.replicas):
                seen.append((state.phase, state.replicas))
            artifact = artifact_in(store)
            if asked_for == "running" and state.replicas == 2:
                ask(artifact, "paused")
                asked_for = "paused"
            elif asked_for == "paused" and state.phase == "paused" and state.replicas == 0:
                ask(artifact, "running")
                asked_for = "resumed"
            elif asked_for == "resumed" and state.replicas > 0:
                ask(artifact, "cancelled")
                asked_for = "cancelled"
        assert process.wait() == 2, (tmp_path / "log").read_text()[-4000:]
    assert asked_for == "cancelled", seen
    assert seen[0][1] == 0


def test_a_hopeless_unit_is_a_dead_letter_and_all_others_are_finished(model: str, tmp_path: Path) -> None:
    job, store = write_job(tmp_path, model, "num_samples=96, unit_size=16"), tmp_path / "store"
    scale = write_scale(tmp_path, more="max_attempts: 2")
    with generating(job, scale, store, tmp_path / "log") as process:
        command.wait_for(lambda: any(store.glob("many/sample/*/job.yaml")), process, tmp_path / "log")
        (folder,) = store.glob("many/sample/*")
        with held(folder, 3):  # before replicas are up
            assert process.wait(400) == 2
    said = (tmp_path / "log").read_text().splitlines()[-1]
    assert "1 of 6 units failed 2 times each" in said
    assert "samples-000003.tar" in said
    assert sorted(path.name for path in (folder / "shards").glob("*.index")) == [
        f"samples-{number:06d}.index" for number in (0, 1, 2, 4, 5)
    ]
    letter = json.loads((folder / "dead" / "samples-000003.json").read_text())
    assert (letter["unit"], letter["samples"], letter["attempts"]) == (3, [48, 64], 2)
    assert not (folder / "manifest.json").exists()
    again = generate(job, scale, store)
    assert again.returncode == 0, again.stderr
    assert artifact_in(store).committed().samples == 96
    assert not (folder / "dead" / "samples-000003.json").exists()


def test_a_cancelled_job_ends_keeps_what_it_drew_and_goes_on_once_resumed(model: str, tmp_path: Path) -> None:
    job, store, log = write_job(tmp_path, model, "num_samples=320, unit_size=16"), tmp_path, tmp_path / "log"
    scale = write_scale(tmp_path, more="max_attempts: 12")
    with generating(job, scale, store, log) as process:
        command.wait_for(lambda: any(store.glob("many/sample/*/job.yaml")), process, log)
        (folder,) = store.glob("many/sample/*")
        with held(folder, 19):  # the last of all
            command.wait_for(lambda: any(folder.glob("shards/*.index")), process, log)
            ask(artifact_in(store), "cancelled")
            assert process.wait(300) == 2
    assert "cancelled" in (tmp_path / "log").read_text().splitlines()[-1]
    before = digests(artifact_in(store))
    assert before
    refused = generate(job, scale, store)
    assert refused.returncode == 2
    assert "was cancelled" in refused.stderr
    ask(artifact_in(store), "running")
    assert generate(job, scale, store).returncode == 0
    assert before.items() <= digests(artifact_in(store)).items()
    assert artifact_in(store).committed().samples == 320
