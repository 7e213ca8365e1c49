"""What a store holds, without listing what its artifacts hold: folders three levels deep, job files, manifests.

A store is <job>/<stage>/<key>/…; listing names costs one request a folder, whatever lies in them.
"""

import logging
import re
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from operator import attrgetter
from threading import Lock

from cachetools import LRUCache, cachedmethod

from rayograph.config.stage_base import ArtifactType
from rayograph.errors import DataError, MissingObjectError, StorageError
from rayograph.runs.artifact import Artifact
from rayograph.runs.job_record import JobRecord, read_job
from rayograph.runs.manifest import Manifest
from rayograph.storage import ObjectStore

log = logging.getLogger(__name__)

LISTED_EVERY_SECONDS = 5.0
_KEY = re.compile(r"[0-9a-f]{16}")
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")


@dataclass(frozen=True)
class Begun:
    """An artifact that somebody has begun: its job file says what it is to be."""

    artifact: Artifact
    record: JobRecord

    @property
    def kind(self) -> str:
        return self.record.declared.kind


class ArtifactIndex:
    """Job files and manifests never change once read, so each is read once."""

    def __init__(self, store: ObjectStore, clock: Callable[[], float] = time.monotonic) -> None:
        self.store = store
        self._clock = clock
        self._lock = Lock()
        self._listed: tuple[float, list[str]] | None = None
        self._kept = Lock()
        self._begun: LRUCache[str, Begun] = LRUCache(10_000)
        self._manifests: LRUCache[str, Manifest] = LRUCache(256)

    def of_kind(self, kind: str) -> list[Begun]:
        """Return every artifact of a kind, committed or not, in any order; those of the last seconds may miss.

        One that cannot be read hides no other. Raises StorageError where the store gives none at all.
        """
        return [begun for begun in self._readable() if begun.kind == kind]

    def committed_of_type(self, wanted: ArtifactType) -> list[tuple[Begun, Manifest]]:
        """Return the committed artifacts of a type, whatever made them, whose manifest can be read."""
        found = []
        for begun in self._readable():
            if begun.record.declared.output is not wanted:
                continue
            try:
                manifest = self.manifest(begun.artifact)
            except (DataError, StorageError) as error:
                log.warning("%s", error)
                continue
            if manifest is not None:
                found.append((begun, manifest))
        return found

    def _readable(self) -> list[Begun]:
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(self._find_readable, self._paths()))
        failed = [error for error in found if isinstance(error, StorageError)]
        if failed and len(failed) == len(found):
            raise failed[0]
        return [begun for begun in found if isinstance(begun, Begun)]

    def at(self, path: str) -> Begun:
        """Return one artifact by its path below the store. Raises MissingObjectError where nobody began one."""
        if not self._is_path(path):
            raise MissingObjectError(f"{path}: no such artifact in {self.store.uri}")
        return self._find(path)

    def manifest(self, artifact: Artifact) -> Manifest | None:
        """Return the commit, or None while there is none."""
        with self._kept:
            found = self._manifests.get(artifact.path)
        if found is None:
            found = artifact.manifest()
            if found is not None:
                with self._kept:
                    self._manifests[artifact.path] = found
        return found

    def refresh(self) -> None:
        """List anew at the next question: an artifact has just been begun."""
        self._listed = None

    def _paths(self) -> Sequence[str]:
        with self._lock:
            now = self._clock()
            if self._listed is None or now - self._listed[0] >= LISTED_EVERY_SECONDS:
                folders, paths = self.store.folders, []
                for job in filter(_NAME.fullmatch, folders()):
                    for stage in filter(_NAME.fullmatch, folders(job)):
                        keys = filter(_KEY.fullmatch, folders(f"{job}/{stage}"))
                        paths += [f"{job}/{stage}/{key}" for key in keys]
                self._listed = (now, paths)
            return self._listed[1]

    def _find_readable(self, path: str) -> Begun | DataError | StorageError | None:
        try:
            return self._find(path)
        except MissingObjectError:
            return None
        except (DataError, StorageError) as error:
            log.warning("%s", error)
            return error

    @cachedmethod(attrgetter("_begun"), key=lambda _, path: path, lock=attrgetter("_kept"))
    def _find(self, path: str) -> Begun:
        artifact = Artifact(self.store, path)
        return Begun(artifact, read_job(artifact))

    @staticmethod
    def _is_path(path: str) -> bool:
        parts = path.split("/")
        return len(parts) == 3 and all(map(_NAME.fullmatch, parts[:2])) and bool(_KEY.fullmatch(parts[2]))
