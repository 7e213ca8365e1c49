"""Portable checkpoints: what every worker keeps, as named pieces of whole tensors, without a pickle.

    checkpoints/<images seen>/state-<rank>-<n>.safetensors    pieces "network/weight/…@first value" of one worker
                              length-…-….safetensors          those of averages that another can be solved from
                              checkpoint.json                 the commit: position, counters, shapes, files, hashes
                              snapshot.json                   in its place, once only those averages are left

A training waits only for its pieces' copy to the host's memory; a thread writes them while it goes on. They load at any
number of workers and any ZeRO stage, because a piece says where in its tensor it belongs. A checkpoint without its
checkpoint.json does not exist; one whose files do not match it is passed over, with a warning, for the one before.
"""

import json
import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TypedDict

from rayograph.errors import CheckpointError, RayographError
from rayograph.runs.artifact import Artifact
from rayograph.training.checkpoints.averages import LENGTH
from rayograph.training.checkpoints.piece_files import Listing, PieceFile, PieceFiles
from rayograph.training.checkpoints.retention import Retention
from rayograph.training.divergence import DivergenceState
from rayograph.training.engine.state import Piece
from rayograph.training.learner import Learner
from rayograph.training.workers import world

FOLDER = "checkpoints"
COMMIT, SNAPSHOT = "checkpoint.json", "snapshot.json"
FORMAT = 3
log = logging.getLogger(__name__)


class CheckpointFacts(TypedDict, total=False):
    """What a training keeps beside its weights, by the names that the first checkpoints had for them."""

    rollbacks: int
    guard: DivergenceState
    figure: float | None
    """What the checkpoint is rated by, less being better."""


class _Written(TypedDict):
    format: int
    images_seen: int
    counters: dict[str, dict[str, float]]
    facts: CheckpointFacts


class Commit(_Written, Listing):
    """What a checkpoint, or a snapshot, says of itself."""

    shapes: dict[str, list[int]]


@dataclass(frozen=True)
class Written:
    """What a checkpoint took: seconds the training stood still, seconds until it counted, bytes of all."""

    stalled: float
    seconds: float
    bytes: int


class Checkpoints:
    """Of one training. All workers together make one, and call everything together."""

    def __init__(
        self,
        artifact: Artifact,
        learner: Learner,
        retention: Retention,
        tell: Callable[[str], None] = log.warning,
    ) -> None:
        """`tell` is told of those that are not whole."""
        self._artifact, self._learner, self._retention, self._tell = artifact, learner, retention, tell
        self._files = PieceFiles(artifact)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._writing: Future[Written] | None = None
        self._figures: dict[int, float | None] = {}
        self.last: Written | None = None
        """What the newest finished one took."""

    def save(self, images_seen: int, facts: CheckpointFacts) -> None:
        """Begins one. `facts` (JSON) are kept beside. Raises what went wrong with the one before it."""
        self.finish()
        started = time.monotonic()
        self._files.copy(list(self._pieces()), _kind_of)
        counters = {name: engine.counters for name, engine in self._learner.engines().items()}
        commit: _Written = {"format": FORMAT, "images_seen": images_seen, "counters": counters, "facts": facts}
        self._writing = self._thread.submit(self._write, commit, started, time.monotonic() - started)

    def finish(self) -> None:
        """Waits until the last one counts."""
        writing, self._writing = self._writing, None
        if writing:
            self.last = writing.result()

    def load_newest(self) -> tuple[int, CheckpointFacts] | None:
        """Puts the newest whole checkpoint into the learner; images seen then, and its facts. None without any.

        Every file is read and checked by one worker before anything is put anywhere.
        """
        self.finish()
        passed: list[int] = []
        for images_seen in reversed(positions(self._artifact)):
            folder = folder_of(images_seen)
            try:
                commit, mine = self._files.read(folder, partial(commit_of, self._artifact, images_seen))
            except CheckpointError as error:
                self._tell(f"{error}; the checkpoint before it is used instead")
                passed.append(images_seen)
                continue
            commit["shapes"] = {self._named_now(name): shape for name, shape in commit["shapes"].items()}
            self._require_shapes(folder, commit)
            self._forget(passed)
            engines = self._learner.engines()
            for piece in self._files.pieces(commit["files"], mine):
                network, _, name = self._named_now(piece.name).partition("/")
                engines[network].state.put(Piece(name, piece.start, piece.values))
            for network, counters in commit["counters"].items():
                engines[network].counters = counters
            return images_seen, commit["facts"]
        return None

    def _write(self, commit: _Written, started: float, stalled: float) -> Written:
        rank, _ = world()
        images_seen = commit["images_seen"]
        files = self._files.write(folder_of(images_seen))
        fault = self._commit_and_prune(commit, files) if rank == 0 else ""
        # Where there is none, it counts now, for every worker.
        self._files.agree(f"{self._artifact.uri}/{folder_of(images_seen)}: not committed", self._files.gathered(fault))
        return Written(stalled, time.monotonic() - started, sum(file["bytes"] for file in files))

    def _commit_and_prune(self, commit: _Written, files: list[PieceFile]) -> str:
        """What went wrong, or nothing."""
        try:
            shapes = {f"{name}/{key}": list(shape) for name, key, shape in self._shapes()}
            whole = json.dumps(Commit(**commit, shapes=shapes, files=files))
            self._artifact.write(f"{folder_of(commit['images_seen'])}/{COMMIT}", whole.encode())
            self._prune()
        except Exception as cause:  # noqa: BLE001 - the others wait to be told
            return f"{type(cause).__name__}: {cause}"
        return ""

    def _forget(self, passed: list[int]) -> None:
        """What was passed over counts no more: else it would stay in the place of those that come."""
        if world()[0] == 0:
            for images_seen in passed:
                self._artifact.store.delete(self._artifact.key(f"{folder_of(images_seen)}/{COMMIT}"))

    def _prune(self) -> None:
        """Takes away what does not stay, and what interrupted checkpoints before the newest left."""
        names = self._artifact.names(f"{FOLDER}/")
        found, thinned = ({_position_of(n) for n in names if n.endswith(f"/{end}")} for end in (COMMIT, SNAPSHOT))
        for images_seen in found - self._figures.keys():
            with suppress(RayographError, ValueError, KeyError):  # a spoilt one has none
                self._figures[images_seen] = commit_of(self._artifact, images_seen)["facts"].get("figure")
        kept = self._retention.kept({images_seen: self._figures.get(images_seen) for images_seen in found})
        snapshots = self._retention.snapshots_of(found | thinned)
        for images_seen in sorted({_position_of(name) for name in names} - kept):
            if images_seen >= max(found):
                continue
            if images_seen in found & snapshots:
                _thin(self._artifact, images_seen)
            elif images_seen not in thinned:
                _delete(self._artifact, images_seen)
            else:  # a thinning that was interrupted left the rest
                _delete(self._artifact, images_seen, keep={n for n in names if _stays(n)})

    def _require_shapes(self, folder: str, commit: Commit) -> None:
        expected = {f"{name}/{key}": list(shape) for name, key, shape in self._shapes()}
        for name in sorted(expected.keys() | commit["shapes"].keys()):
            here, there = expected.get(name, "none"), commit["shapes"].get(name, "none")
            if here != there:
                raise CheckpointError(
                    f"{self._artifact.uri}/{folder}: tensor {name}: expected shape {here}, got {there}: "
                    "it is another network's"
                )

    def _named_now(self, name: str) -> str:
        """What a tensor "network/key/weight" is called today."""
        place, _, weight = name.rpartition("/")
        return f"{place}/{self._learner.names_before.get(weight, weight)}"

    def _pieces(self) -> Iterator[Piece]:
        for name, engine in self._learner.engines().items():
            for piece in engine.state.pieces():
                yield Piece(f"{name}/{piece.name}", piece.start, piece.values)

    def _shapes(self) -> Iterator[tuple[str, str, tuple[int, ...]]]:
        for name, engine in self._learner.engines().items():
            for key, shape in engine.state.shapes().items():
                yield name, key, shape


def folder_of(images_seen: int) -> str:
    return f"{FOLDER}/{images_seen:012d}"


def positions(artifact: Artifact, commit: str = COMMIT) -> list[int]:
    """Images seen at each committed checkpoint, oldest first; or at each snapshot."""
    return sorted(_position_of(name) for name in artifact.names(f"{FOLDER}/") if name.endswith(f"/{commit}"))


def commit_of(artifact: Artifact, images_seen: int, commit: str = COMMIT) -> Commit:
    """What a checkpoint, or a snapshot, says of itself. Raises CheckpointError for another format."""
    found: Commit = json.loads(artifact.read(f"{folder_of(images_seen)}/{commit}"))
    if found["format"] != FORMAT:
        raise CheckpointError(f"expected a checkpoint of format {FORMAT}, got {found['format']!r}")
    return found


def _position_of(name: str) -> int:
    return int(name.split("/")[1])


def _kind_of(name: str) -> str:
    """Files of the averages that others are solved from stand apart: they may stay when the rest goes."""
    return LENGTH if name.split("/")[1].startswith(f"{LENGTH}-") else "state"


def _stays(name: str) -> bool:
    """Whether a file belongs to a snapshot."""
    last = name.rpartition("/")[2]
    return last == SNAPSHOT or last.startswith(f"{LENGTH}-")


def _thin(artifact: Artifact, images_seen: int) -> None:
    """Leaves the averages, as a snapshot. It is one before it is no checkpoint any more."""
    folder = folder_of(images_seen)
    commit = commit_of(artifact, images_seen)
    files = [file for file in commit["files"] if _stays(file["path"])]
    artifact.write(f"{folder}/{SNAPSHOT}", json.dumps({**commit, "files": files}).encode())
    _delete(artifact, images_seen, keep={f"{folder}/{SNAPSHOT}", *(file["path"] for file in files)})


def _delete(artifact: Artifact, images_seen: int, keep: frozenset[str] | set[str] = frozenset()) -> None:
    """The commit goes first, so that a half-deleted checkpoint does not count."""
    folder = folder_of(images_seen)
    artifact.store.delete(artifact.key(f"{folder}/{COMMIT}"))
    for name in artifact.names(f"{folder}/"):
        if name not in keep:
            artifact.store.delete(artifact.key(name))
