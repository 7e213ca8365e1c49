"""Portable checkpoints: whole tensors by name, spread over the workers that write them, without a pickle.

    checkpoints/<images seen>/<rank>.safetensors    each worker's share of the tensors
                              checkpoint.json       the commit: position, each network's steps, files, hashes

They load at any number of workers and any ZeRO stage, because names and tensors are whole. A checkpoint without its
checkpoint.json does not exist; one whose files do not match it is passed over, with a warning, for the one before.
"""

import json
import logging
from functools import partial
from typing import Any

import torch.distributed as dist
from safetensors.torch import load, save
from torch import Tensor

from rayograph.errors import CheckpointError, MissingObjectError
from rayograph.runs.artifact import Artifact
from rayograph.runs.digests import sha256
from rayograph.training.engine import world
from rayograph.training.learner import Learner, named_state

FOLDER = "checkpoints"
COMMIT = "checkpoint.json"

log = logging.getLogger(__name__)


def save_checkpoint(artifact: Artifact, learner: Learner, images_seen: int, keep: int) -> None:
    """All workers together; when it returns, the checkpoint counts, and older ones beyond `keep` are gone."""
    rank, workers = world()
    share: dict[str, Tensor] = {}
    for number, (name, tensor) in enumerate(named_state(learner)):
        if number % workers == rank:
            share[name] = tensor.cpu()
    folder = f"{FOLDER}/{images_seen:012d}"
    name = f"{folder}/{rank:05d}-of-{workers:05d}.safetensors"
    record = artifact.write(name, save(share)).model_dump() | {"tensors": sorted(share)}
    records: list[Any] = [record]
    if workers > 1:
        records = [None] * workers
        dist.all_gather_object(records, record)
    if rank == 0:
        steps = {name: engine.steps for name, engine in learner.engines().items()}
        commit = {"format": 1, "images_seen": images_seen, "steps": steps, "files": records}
        artifact.write(f"{folder}/{COMMIT}", json.dumps(commit, indent=1).encode())
        _prune(artifact, keep)
    if workers > 1:
        dist.barrier()


def load_newest(artifact: Artifact, learner: Learner) -> int:
    """Puts the newest whole checkpoint into the learner; images seen then, 0 without any. All workers together.

    Every worker decides by the same bytes, so all agree on which checkpoint is whole.
    """
    for images_seen in reversed(positions(artifact)):
        try:
            commit, tensors = _read(artifact, f"{FOLDER}/{images_seen:012d}")
        except CheckpointError as error:
            log.warning("%s; the checkpoint before it is used instead", error)
            continue
        for engine_name, engine in learner.engines().items():
            engine.load_state(partial(_tensor, tensors, engine_name), commit["steps"][engine_name])
        return images_seen
    return 0


def positions(artifact: Artifact) -> list[int]:
    """Images seen at each committed checkpoint, oldest first."""
    names = artifact.names(f"{FOLDER}/")
    return sorted(int(name.split("/")[1]) for name in names if name.endswith(f"/{COMMIT}"))


def _read(artifact: Artifact, folder: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    uri = f"{artifact.uri}/{folder}"
    tensors: dict[str, Tensor] = {}
    try:
        commit = json.loads(artifact.read(f"{folder}/{COMMIT}"))
        for file in commit["files"]:
            data = artifact.read(file["path"])
            if sha256(data) != file["sha256"]:
                raise CheckpointError(f"{uri}: {file['path']} does not match its sha256")
            tensors |= load(data)
    except (MissingObjectError, ValueError, KeyError) as error:
        raise CheckpointError(f"{uri}: not whole: {error}") from error
    return commit, tensors


def _tensor(tensors: dict[str, Tensor], engine_name: str, state_name: str) -> Tensor:
    name = f"{engine_name}/{state_name}"
    if name not in tensors:
        raise CheckpointError(f"checkpoint: expected a tensor {name}, found none: it is another network's")
    return tensors[name]


def _prune(artifact: Artifact, keep: int) -> None:
    """Deletes all but the newest `keep` checkpoints, and what interrupted ones before them left."""
    kept = positions(artifact)[-keep:]
    found = {int(name.split("/")[1]) for name in artifact.names(f"{FOLDER}/")}
    for images_seen in sorted(found - set(kept)):
        if images_seen < kept[-1]:
            _delete(artifact, images_seen)


def _delete(artifact: Artifact, images_seen: int) -> None:
    """The commit goes first, so that a half-deleted checkpoint does not count."""
    folder = f"{FOLDER}/{images_seen:012d}"
    artifact.store.delete(artifact.key(f"{folder}/{COMMIT}"))
    for name in artifact.names(f"{folder}/"):
        artifact.store.delete(artifact.key(name))
