"""A run killed with SIGKILL, and the same command again: nothing lost, nothing repeated, the same bytes."""

import hashlib
import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import command


def artifact_of(store: Path, stage: str) -> Path:
    (artifact,) = (store / "digits" / stage).iterdir()
    return artifact


def digests(folder: Path) -> dict[str, str]:
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


def kill(process_id: int) -> None:
    os.killpg(process_id, signal.SIGKILL)


def test_training_interrupted_and_killed_ends_in_the_same_weights(trained_store: Path, tmp_path: Path) -> None:
    store, log = tmp_path / "store", tmp_path / "log"
    shutil.copytree(trained_store / "digits" / "pack", store / "digits" / "pack")

    def newest() -> int:
        commits = store.glob("digits/train_autoencoder/*/checkpoints/*/checkpoint.json")
        return max((int(commit.parent.name) for commit in commits), default=0)

    with command.running(":train_autoencoder", store, log) as process:
        command.wait_for(lambda: newest() > 0, process, log)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the whole group
        assert process.wait(60) == 130
    assert "the same command goes on from here" in log.read_text()
    assert "Traceback" not in log.read_text()
    with command.running(":train_autoencoder", store, log) as process:
        before = newest()
        command.wait_for(lambda: newest() > before, process, log)
        kill(process.pid)
    done = command.run(":train_autoencoder", store)
    assert "goes on from the checkpoint at" in done.stderr
    command.verified(store)
    ours, theirs = artifact_of(store, "train_autoencoder"), artifact_of(trained_store, "train_autoencoder")
    assert digests(ours / "model") == digests(theirs / "model")
    seen = [json.loads(line)["images_seen"] for line in (ours / "metrics.jsonl").read_text().splitlines()]
    assert seen == list(range(64, 1280 + 1, 64))


def test_sampling_killed_half_way_ends_in_the_same_samples(new_store: Callable[[str], Path], tmp_path: Path) -> None:
    disturbed, quiet, log = new_store("disturbed"), new_store("quiet"), tmp_path / "log"
    enough = ("--set", "sample.num_samples=480")  # to be at it for a while
    with command.running(":sample", disturbed, log, *enough) as process:
        command.wait_for(lambda: any(disturbed.glob("digits/sample/*/shards/*.index")), process, log)
        kill(process.pid)
    drawn_before = digests(disturbed / "digits" / "sample")
    assert not any(name.endswith("manifest.json") for name in drawn_before)
    command.run(":sample", disturbed, *enough)
    command.run(":sample", quiet, *enough, "--set", "scale.sampling.replicas=1")
    command.verified(disturbed)
    shards = artifact_of(disturbed, "sample") / "shards"
    assert len(list(shards.glob("*.tar"))) == 30
    assert digests(shards) == digests(artifact_of(quiet, "sample") / "shards")


def test_another_seed_draws_other_samples(new_store: Callable[[str], Path]) -> None:
    store = new_store("seeds")
    command.run(":sample", store)
    command.run(":sample", store, "--set", "sample.seed=1")
    first, second = (digests(artifact / "shards") for artifact in (store / "digits" / "sample").iterdir())
    assert first.keys() == second.keys()
    assert not set(first.values()) & set(second.values())
