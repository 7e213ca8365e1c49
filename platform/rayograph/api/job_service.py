"""The stages' part of the HTTP app: a submission becomes a job of one stage, checked whole before it starts."""

import json
import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from operator import attrgetter
from threading import Lock

import numpy as np
from cachetools import LRUCache, cachedmethod
from pydantic import ValidationError

from rayograph.api.artifact_index import ArtifactIndex
from rayograph.api.jobs import SUBMITTED
from rayograph.api.model_forms import ModelForms, ReadSpec
from rayograph.api.schemas import Ancestor, Model, ModelForm, Parentage, Record
from rayograph.api.submission import Row, Submission
from rayograph.conditioning.form import FormField
from rayograph.config import Job, Request, Sample, Scale
from rayograph.config.reading.explain import explain, suggestion
from rayograph.config.stage_base import ArtifactType
from rayograph.errors import ConfigError, DataError, RayographError, StorageError
from rayograph.pipeline.resolve import resolve
from rayograph.runs.artifact import RESOLVED, Artifact
from rayograph.runs.digests import canonical_json, sha256
from rayograph.runs.job_record import JobRecord, read_job
from rayograph.runs.lineage import LineageNode, ancestors
from rayograph.runs.manifest import Manifest
from rayograph.runs.stage_context import StageContext
from rayograph.sampling.job_state import ask, read_state, wanted
from rayograph.sampling.requests.model_spec import ModelSpec
from rayograph.storage import ObjectStore, open_store

log = logging.getLogger(__name__)

STAGE = "sample"
DrawAgain = Callable[[Artifact, int], tuple[np.ndarray, bytes, Record]]
Start = Callable[[Artifact, Job, str], None]
"""Makes sure that somebody runs a stage of a job: idempotent, and returns before it is done."""
Prepare = Callable[[StageContext], None]
"""Reads and checks a stage's whole request against its model, and fixes it; raises for the first bad row."""


class StoreJobService:
    """Serves one store. What a client names must lie in it, or below one of `allowed`: the app may read more."""

    def __init__(
        self,
        store: ObjectStore,
        scale: Scale,
        start: Start,
        draw_again: DrawAgain,
        allowed: Sequence[str] = (),
        prepare: Prepare = lambda _: None,
        read_spec: ReadSpec = ModelSpec.of,
    ) -> None:
        self._store, self._scale = store, scale.model_copy(update={"store": store.uri})
        self._start, self._draw_again, self._prepare = start, draw_again, prepare
        self._allowed = [store.uri, *(open_store(uri, scale.access).uri for uri in allowed)]
        self._index, self._forms = ArtifactIndex(store), ModelForms(read_spec)
        self._lock = Lock()
        self._lineages: LRUCache[str, list[Ancestor]] = LRUCache(256)
        self._class_names: LRUCache[str, list[str]] = LRUCache(1024)

    def models(self) -> list[Model]:
        """Newest first."""
        found = [
            Model(
                name=begun.artifact.path,
                uri=begun.artifact.uri,
                digest=manifest.digest,
                created=manifest.created,
                class_names=_class_names(manifest),
            )
            for begun, manifest in self._index.committed_of_type(ArtifactType.DIFFUSION_MODEL)
        ]
        return sorted(found, key=lambda model: model.created, reverse=True)

    def submit(self, submission: Submission) -> tuple[Artifact, bool]:
        """Raises ConfigError or DataError, one line, with nothing written but the rows."""
        stage = self._resolved(submission)
        artifact = stage.artifact
        committed = self._index.manifest(artifact) is not None
        if not committed:
            try:
                self._prepare(stage)
            except DataError as error:
                raise _of_rows(error, stage, submission) from error
            artifact.write(RESOLVED, stage.described())
        told = {"submitted": datetime.now(UTC).isoformat(timespec="seconds")}
        created = artifact.store.put_if_absent(artifact.key(SUBMITTED), json.dumps(told).encode())
        if not created and wanted(artifact) == "cancelled":
            ask(artifact, "running")
        if not committed:
            self._start(artifact, stage.job, stage.name)
        return artifact, created

    def wake(self, artifact: Artifact) -> None:
        """Nothing where it was not submitted here: whoever runs it looks at what is asked of it.

        Raises DataError for one of another version, whose images would go elsewhere.
        """
        if artifact.store.exists(artifact.key(SUBMITTED)) and self._index.manifest(artifact) is None:
            record = read_job(artifact)
            if self._resolve(record).artifact.path != artifact.path:
                raise DataError(f"{artifact.uri}: begun by another version: submit it anew")
            self._start(artifact, record.job, record.stage)

    def wake_all(self) -> list[Artifact]:
        """Every submitted job that is neither done nor cancelled nor failed: what an app does when it starts."""
        woken = []
        for begun in self._index.of_kind("sample"):
            try:
                if self._is_under_way(begun.artifact):
                    self.wake(begun.artifact)
                    woken.append(begun.artifact)
            except RayographError as error:  # which is that one job's trouble
                log.warning("%s", error)
            except Exception:  # a defect of ours: told whole, and no other job's trouble either
                log.exception("%s: not woken", begun.artifact.uri)
        return woken

    def _is_under_way(self, artifact: Artifact) -> bool:
        if not artifact.store.exists(artifact.key(SUBMITTED)) or self._index.manifest(artifact) is not None:
            return False
        state = read_state(artifact)
        return wanted(artifact) != "cancelled" and (state is None or state.phase not in ("failed", "cancelled"))

    @cachedmethod(attrgetter("_class_names"), key=lambda _, artifact: artifact.path, lock=attrgetter("_lock"))
    def class_names(self, artifact: Artifact) -> list[str]:
        """Of its model, by number."""
        return _class_names(self._model_of(artifact).committed())

    def form(self, model: str) -> ModelForm:
        return self._forms.of(self._opened(model))

    def fields(self, artifact: Artifact) -> tuple[FormField, ...]:
        return self._forms.fields(self._model_of(artifact))

    def file_columns(self, model: str) -> frozenset[str]:
        return frozenset(field.column for field in self._forms.fields(self._opened(model)) if field.is_file)

    def lineage(self, artifact: Artifact) -> list[Ancestor]:
        """Itself first; it need not be committed yet."""
        if self._index.manifest(artifact) is not None:
            return self._committed_lineage(artifact)
        stage = self._resolve(read_job(artifact))
        rest = ancestors(stage.inputs["model"], self._scale.access)
        return [_unfinished(stage), *map(_ancestor, rest)]

    @cachedmethod(attrgetter("_lineages"), key=lambda _, artifact: artifact.path, lock=attrgetter("_lock"))
    def _committed_lineage(self, artifact: Artifact) -> list[Ancestor]:
        return [_ancestor(node) for node in ancestors(artifact, self._scale.access)]

    def draw_again(self, artifact: Artifact, number: int) -> tuple[np.ndarray, bytes, Record]:
        """As the seam that was given does it."""
        return self._draw_again(artifact, number)

    def _resolved(self, submission: Submission) -> StageContext:
        if submission.rows is not None:
            # Their text is never where a file lies: clients reach no files of others.
            files = "base64" if self.file_columns(submission.model) else "uri"
            request = Request(uri=self._put_rows(submission.rows), files=files)
        elif submission.request_uri is not None:
            request = Request(uri=self._permitted("request_uri", submission.request_uri))
        else:
            request = None
        try:
            declared = Sample(
                model=self._model(submission.model),
                num_samples=submission.num_samples,
                request=request,
                sampler=submission.sampler,
                image=submission.image,
                marking=submission.marking,
                priority=submission.priority,
                unit_size=submission.unit_size,
            )
            job = Job(name=submission.name, seed=submission.seed, stages={STAGE: declared})
        except ValidationError as error:
            raise explain(error, Job, "") from None
        return resolve(job, self._scale, self._store)[STAGE]

    def _model(self, given: str) -> str:
        models = {model.name: model.uri for model in self.models()}
        if given in models:
            return models[given]
        if "://" not in given and not given.startswith("/"):
            raise ConfigError(f"model: no such committed model: {given[:120]!r}{suggestion(given, models)}")
        return self._permitted("model", given)

    def _opened(self, model: str) -> Artifact:
        return Artifact(open_store(self._model(model), self._scale.access), "")

    def _permitted(self, field: str, given: str) -> str:
        try:
            uri = open_store(given, self._scale.access).uri
        except StorageError as error:
            raise ConfigError(f"{field}: {error}") from error
        if not any(uri == place or uri.startswith(f"{place.rstrip('/')}/") for place in self._allowed):
            raise ConfigError(
                f"{field}: expected a URI below {' or '.join(self._allowed)} (`rayograph serve --allow` names more), "
                f"got {given[:120]!r}"
            )
        return uri

    def _put_rows(self, rows: Sequence[Row]) -> str:
        data = b"".join(canonical_json(row.said()) + b"\n" for row in rows)
        key = f"requests/{sha256(data)}.jsonl"
        self._store.put_if_absent(key, data)
        return self._store.uri_of(key)

    def _model_of(self, artifact: Artifact) -> Artifact:
        return self._resolve(read_job(artifact)).inputs["model"]

    def _resolve(self, record: JobRecord) -> StageContext:
        return resolve(record.job, self._scale, self._store)[record.stage]


def _of_rows(error: DataError, stage: StageContext, submission: Submission) -> DataError:
    """Of rows that came with the submission, what the client knows them by: not the file that they became."""
    if submission.rows is None or not isinstance(stage.declared, Sample) or stage.declared.request is None:
        return error
    uri = stage.declared.request.uri
    told = str(error).removesuffix("; `keep` carries it along")  # which is a field of requests by their URI
    return DataError(told.replace(f"{uri} row ", "rows.").replace(f"{uri}: ", "rows: "))


def _class_names(manifest: Manifest) -> list[str]:
    return [str(name) for name in manifest.facts.get("class_names") or []]


def _ancestor(node: LineageNode) -> Ancestor:
    manifest = node.manifest
    return Ancestor(
        uri=node.uri,
        job=manifest.job,
        stage=manifest.stage,
        kind=manifest.kind,
        key=manifest.key,
        seed=manifest.seed,
        digest=manifest.digest,
        created=manifest.created,
        samples=manifest.samples,
        parents=[
            Parentage(input=parent.input, uri=place.uri, digest=parent.digest)
            for parent, place in zip(manifest.parents, node.parents, strict=True)
        ],
        declared=manifest.declared,
    )


def _unfinished(stage: StageContext) -> Ancestor:
    return Ancestor(
        uri=stage.artifact.uri,
        job=stage.job.name,
        stage=stage.name,
        kind=stage.declared.kind,
        key=stage.key,
        seed=stage.seed,
        digest=None,
        created=None,
        samples=0,
        parents=[
            Parentage(input=field, uri=artifact.uri, digest=artifact.committed().digest)
            for field, artifact in stage.inputs.items()
        ],
        declared=stage.declared.model_dump(mode="json"),
    )
