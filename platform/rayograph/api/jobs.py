"""Batch generations as clients see them: what the store says of each, read seldom."""

import json
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from operator import attrgetter
from threading import Lock
from typing import Literal

from cachetools import TLRUCache, cachedmethod

from rayograph.api.artifact_index import ArtifactIndex, Begun
from rayograph.api.schemas import Answer
from rayograph.config import Sample
from rayograph.errors import DataError, MissingObjectError, StorageError
from rayograph.runs.artifact import Artifact
from rayograph.sampling.job_state import JobState, Wanted, read_state, wanted

log = logging.getLogger(__name__)

SUBMITTED = "submitted.json"
"""In an artifact that was asked for over HTTP: when."""
ENDED = ("interrupted", "cancelled", "failed")
"""Phases in which nobody draws, and nobody is expected to."""
SILENT_SECONDS = 60.0
FRESH_SECONDS, SETTLED_SECONDS = 1.0, 10.0
"""For how long an answer is given again: while a job moves, and once it has ended or fallen silent."""
MOST_VIEWS = 10_000


class JobView(Answer):
    """A job's last word, and what is asked of it. Times are UTC, ISO 8601."""

    id: str
    job: str
    uri: str
    phase: Literal["waiting", "running", "paused", "interrupted", "cancelled", "failed", "done"]
    wanted: Wanted
    committed: bool
    silent_since: str | None
    """When it was last heard of, if that is over a minute ago and it has not ended: its coordinator or machine died."""
    samples: int
    total_samples: int
    units: int
    total_units: int
    images_per_second: float | None
    seconds_left: float | None
    replicas: int
    priority: int
    lost: int
    dead: list[str]
    device_seconds: float
    money: float | None
    error: str | None
    started: str | None
    updated: str | None
    model: str
    scheduler: str
    num_inference_steps: int
    guidance_scale: float
    seed: int


def id_of(path: str) -> str:
    """digits/sample/0123… → digits~sample~0123…"""
    return path.replace("/", "~")


class Jobs:
    """The store's sample artifacts. `now` gives the time as in a job's state, `clock` seconds from any start."""

    def __init__(
        self,
        index: ArtifactIndex,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._index, self._now, self._lock = index, now, Lock()
        self._views: TLRUCache[str, JobView] = TLRUCache(MOST_VIEWS, _stale_at, timer=clock)

    def all(self) -> list[JobView]:
        """Those under way first, then by when they were last heard of, newest first."""
        views = []
        for begun in self._index.of_kind("sample"):
            try:
                views.append(self._view(begun))
            except (DataError, StorageError) as error:  # one that cannot be read must not hide the other jobs
                log.warning("%s", error)
        views.sort(key=lambda view: view.updated or "9", reverse=True)
        return sorted(views, key=_is_settled)

    def one(self, job_id: str) -> JobView:
        """Raises MissingObjectError for an unknown id."""
        return self._view(self.begun(job_id))

    def begun(self, job_id: str) -> Begun:
        """Raises MissingObjectError for an unknown id."""
        try:
            found = self._index.at(job_id.replace("~", "/"))
        except MissingObjectError:
            found = None
        if found is None or found.kind != "sample" or "/" in job_id:
            raise MissingObjectError(f"{job_id[:120]}: no such job")
        return found

    def forget(self, job_id: str) -> None:
        """Looks anew at the next question: something has just been asked of the job."""
        with self._lock:
            self._views.pop(job_id, None)
        self._index.refresh()

    @cachedmethod(attrgetter("_views"), key=lambda _, begun: id_of(begun.artifact.path), lock=attrgetter("_lock"))
    def _view(self, begun: Begun) -> JobView:
        artifact, job, declared = begun.artifact, begun.record.job, _generation(begun)
        state = read_state(artifact)
        updated = _submitted(artifact) if state is None else state.updated
        moving = state is not None and state.phase in ("running", "paused")
        manifest = None if moving and not self._is_silent(artifact, updated) else self._index.manifest(artifact)
        if manifest is not None:
            updated = updated or manifest.created
            spoken = state or _unspoken(manifest.created, manifest.samples)
            last = {"images_per_second": None, "seconds_left": None, "replicas": 0, "error": None}
            state = spoken.model_copy(
                update={"phase": "done", "samples": manifest.samples, "units": len(manifest.shards), **last}
            )
        ended = manifest is not None or (state is not None and state.phase in ENDED)
        told = state or _unspoken(updated or "", declared.num_samples or 0)
        return JobView(
            **told.model_dump(exclude={"format", "phase", "started", "updated"}),
            id=id_of(artifact.path),
            job=job.name,
            uri=artifact.uri,
            phase="waiting" if state is None else state.phase,
            wanted="running" if manifest is not None else wanted(artifact),
            committed=manifest is not None,
            silent_since=updated if not ended and self._is_silent(artifact, updated) else None,
            started=told.started or None,
            updated=updated,
            model=declared.model,
            scheduler=declared.sampler.scheduler,
            num_inference_steps=declared.sampler.num_inference_steps,
            guidance_scale=declared.sampler.guidance_scale,
            seed=job.seed_of(begun.record.stage),
        )

    def _is_silent(self, artifact: Artifact, updated: str | None) -> bool:
        if updated is None:
            return False
        try:
            return (self._now() - datetime.fromisoformat(updated)).total_seconds() > SILENT_SECONDS
        except (ValueError, TypeError) as error:  # a time without its zone is compared with none
            raise DataError(f"{artifact.uri}: expected a time in ISO 8601 and UTC, got {updated[:80]!r}") from error


def _generation(begun: Begun) -> Sample:
    declared = begun.record.declared
    if not isinstance(declared, Sample):
        raise DataError(f"{begun.artifact.uri}: expected a stage of kind sample, got one of kind {declared.kind}")
    return declared


def _is_settled(view: JobView) -> bool:
    return view.phase in ENDED or view.committed or view.silent_since is not None


def _stale_at(_: str, view: JobView, now: float) -> float:
    return now + (SETTLED_SECONDS if _is_settled(view) else FRESH_SECONDS)


def _unspoken(since: str, total: int) -> JobState:
    """Of a job that no coordinator has spoken of."""
    return JobState(
        phase="running", samples=0, total_samples=total, units=0, total_units=0, started=since, updated=since
    )


def _submitted(artifact: Artifact) -> str | None:
    try:
        return str(json.loads(artifact.read(SUBMITTED))["submitted"])
    except MissingObjectError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{artifact.uri}/{SUBMITTED}: expected when it was submitted, got {error}") from error
