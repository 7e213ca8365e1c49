"""A run killed with SIGKILL, and the same command again: nothing lost, nothing repeated, the same bytes."""

import hashlib
import json
import os
import shutil
import signal
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
