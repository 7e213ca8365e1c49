"""Portable checkpoints: what every worker keeps, as named pieces of whole tensors, without a pickle.

    checkpoints/<images seen>/<rank>-<part>.safetensors    pieces "network/weight/…@first value", of one worker
                              checkpoint.json              the commit: position, steps, shapes, files with their hashes

A training waits only for its pieces' copy to the host's memory; a thread writes them while it goes on. They load at any
number of workers and any ZeRO stage, because a piece says where in its tensor it belongs. A checkpoint without its
checkpoint.json does not exist; one whose files do not match it is passed over, with a warning, for the one before.
"""

import json
import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from safetensors.torch import load, save
from torch import Tensor

from rayograph.errors import CheckpointError, RayographError
from rayograph.runs.artifact import Artifact
from rayograph.runs.digests import sha256
from rayograph.training.engine import Piece, world
from rayograph.training.learner import Learner

FOLDER = "checkpoints"
COMMIT = "checkpoint.json"
FORMAT = 2

PART_BYTES = 256 << 20
"""A file's size, about: parts are hashed and put side by side."""

PARTS_AT_ONCE = 4

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Written:
    """What a checkpoint took: seconds the training stood still, seconds until it counted, bytes of all."""

    stalled: float
    seconds: float
    bytes: int


class Checkpoints:
    """Of one training. All workers together make one, and call everything together."""

    def __init__(
        self, artifact: Artifact, learner: Learner, keep: int, tell: Callable[[str], None] = log.warning
    ) -> None:
        """The newest `keep` stay. `tell` is told of those that are not whole."""
        self._artifact, self._learner, self._keep, self._tell = artifact, learner, keep, tell
        _, workers = world()
        # Of its own: the thread that writes must not get between the training's own exchanges.
        self._group = dist.new_group(backend="gloo") if workers > 1 else None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._writing: Future[Written] | None = None
        self._host: dict[str, Tensor] = {}
        self.last: Written | None = None
        """What the newest finished one took."""

    def save(self, images_seen: int, facts: dict[str, Any]) -> None:
        """Begins one. `facts` (JSON) are kept beside. Raises what went wrong with the one before it."""
        self.finish()
        started = time.monotonic()
        self._copy()
        steps = {name: engine.steps for name, engine in self._learner.engines().items()}
        stalled = time.monotonic() - started
        self._writing = self._thread.submit(
            self._write, {"images_seen": images_seen, "steps": steps, "facts": facts}, stalled
        )

    def finish(self) -> None:
        """Waits until the last one counts."""
        writing, self._writing = self._writing, None
        if writing:
            self.last = writing.result()

    def load_newest(self) -> tuple[int, dict[str, Any]] | None:
        """Puts the newest whole checkpoint into the learner; images seen then, and its facts. None without any.

        Every file is read and checked by one worker before anything is put anywhere.
        """
        self.finish()
        for images_seen in reversed(positions(self._artifact)):
            folder = f"{FOLDER}/{images_seen:012d}"
            try:
                commit, mine = self._checked(folder)
            except CheckpointError as error:
                self._tell(f"{error}; the checkpoint before it is used instead")
                continue
            self._require_shapes(folder, commit)
            self._put(commit, mine)
            return images_seen, commit["facts"]
        return None

    def _copy(self) -> None:
        """All of this worker's pieces, into memory that was set aside for them at the first checkpoint."""
        pinned = torch.cuda.is_available()
        for name, engine in self._learner.engines().items():
            for piece in engine.pieces():
                key = f"{name}/{piece.name}@{piece.start}"
                if key not in self._host:
                    self._host[key] = torch.empty(len(piece.values), pin_memory=pinned)
                self._host[key].copy_(piece.values, non_blocking=True)
        if pinned:
            torch.cuda.synchronize()

    def _write(self, commit: dict[str, Any], stalled: float) -> Written:
        started = time.monotonic()
        rank, _ = world()
        folder = f"{FOLDER}/{commit['images_seen']:012d}"

        def put(numbered: tuple[int, list[str]]) -> dict[str, Any]:
            number, keys = numbered
            data = save({key: self._host[key] for key in keys})
            return self._artifact.write(f"{folder}/{rank:05d}-{number:03d}.safetensors", data).model_dump()

        records: list[dict[str, Any]] = []
        error = ""
        try:
            with ThreadPoolExecutor(PARTS_AT_ONCE, thread_name_prefix="part") as pool:
                records = list(pool.map(put, enumerate(self._parts())))
        except Exception as cause:  # noqa: BLE001 - the others wait to be told
            error = f"{type(cause).__name__}: {cause}"
        told = self._all([records, error])
        failed = [reason for _, reason in told if reason]
        if failed:
            raise CheckpointError(f"{self._artifact.uri}/{folder}: not written: {failed[0]}")
        files = [record for found, _ in told for record in found]
        if rank == 0:
            error = self._commit_and_prune(folder, commit, files)
        failed = [reason for reason in self._all(error) if reason]  # if none, it counts now, for every worker
        if failed:
            raise CheckpointError(f"{self._artifact.uri}/{folder}: not committed: {failed[0]}")
        return Written(stalled, stalled + time.monotonic() - started, sum(file["bytes"] for file in files))

    def _commit_and_prune(self, folder: str, commit: dict[str, Any], files: list[dict[str, Any]]) -> str:
        """What went wrong, or nothing."""
        try:
            shapes = {f"{name}/{key}": shape for name, key, shape in _shapes(self._learner)}
            whole = {"format": FORMAT} | commit | {"shapes": shapes, "files": files}
            self._artifact.write(f"{folder}/{COMMIT}", json.dumps(whole).encode())
            _prune(self._artifact, self._keep)
        except Exception as cause:  # noqa: BLE001 - the others wait to be told
            return f"{type(cause).__name__}: {cause}"
        return ""

    def _parts(self) -> Iterator[list[str]]:
        part: list[str] = []
        size = 0
        for key, values in self._host.items():
            if part and size + values.nbytes > PART_BYTES:
                yield part
                part, size = [], 0
            part.append(key)
            size += values.nbytes
        if part:
            yield part

    def _checked(self, folder: str) -> tuple[dict[str, Any], dict[str, bytes]]:
        """The commit, and this worker's share of the files. Raises CheckpointError on all where one finds a fault."""
        rank, workers = world()
        uri = f"{self._artifact.uri}/{folder}"
        commit: dict[str, Any] = {}
        mine: dict[str, bytes] = {}
        fault = ""
        try:
            commit = _commit(self._artifact, folder)
            for file in commit["files"][rank::workers]:
                data = self._artifact.read(file["path"])
                if sha256(data) != file["sha256"]:
                    raise CheckpointError(f"{file['path']} does not match its sha256")
                mine[file["path"]] = data
        except (RayographError, ValueError, KeyError, TypeError) as error:
            fault = f"{uri}: not whole: {error}"
        faults = [found for found in self._all(fault) if found]
        if faults:
            raise CheckpointError(faults[0])
        return commit, mine

    def _require_shapes(self, folder: str, commit: dict[str, Any]) -> None:
        expected = {f"{name}/{key}": list(shape) for name, key, shape in _shapes(self._learner)}
        for name in sorted(expected.keys() | commit["shapes"].keys()):
            here, there = expected.get(name, "none"), commit["shapes"].get(name, "none")
            if here != there:
                raise CheckpointError(
                    f"{self._artifact.uri}/{folder}: tensor {name}: expected shape {here}, got {there}: "
                    "it is another network's"
                )

    def _put(self, commit: dict[str, Any], mine: dict[str, bytes]) -> None:
        """File after file, from the worker that read it to all."""
        _, workers = world()
        engines = self._learner.engines()
        for number, file in enumerate(commit["files"]):
            for key, values in load(self._from(number % workers, mine.pop(file["path"], None), file["bytes"])).items():
                name, _, start = key.rpartition("@")
                network, _, tensor = name.partition("/")
                engines[network].put(Piece(tensor, int(start), values))
        for network, steps in commit["steps"].items():
            engines[network].steps = steps

    def _from(self, owner: int, data: bytes | None, size: int) -> bytes:
        if self._group is None:
            assert data is not None
            return data
        values = torch.frombuffer(bytearray(data), dtype=torch.uint8) if data else torch.empty(size, dtype=torch.uint8)
        dist.broadcast(values, owner, group=self._group)
        return values.numpy().tobytes()

    def _all(self, value: Any) -> list[Any]:
        """Every worker's value, on every worker."""
        if self._group is None:
            return [value]
        values: list[Any] = [None] * world()[1]
        dist.all_gather_object(values, value, group=self._group)
        return values


def positions(artifact: Artifact) -> list[int]:
    """Images seen at each committed checkpoint, oldest first."""
    names = artifact.names(f"{FOLDER}/")
    return sorted(int(name.split("/")[1]) for name in names if name.endswith(f"/{COMMIT}"))


def _shapes(learner: Learner) -> Iterator[tuple[str, str, tuple[int, ...]]]:
    for name, engine in learner.engines().items():
        for key, shape in engine.shapes().items():
            yield name, key, shape


def _commit(artifact: Artifact, folder: str) -> dict[str, Any]:
    commit = json.loads(artifact.read(f"{folder}/{COMMIT}"))
    if commit["format"] != FORMAT:
        raise CheckpointError(f"expected a checkpoint of format {FORMAT}, got {commit['format']!r}")
    return dict(commit)


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
