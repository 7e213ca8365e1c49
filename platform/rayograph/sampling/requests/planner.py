"""From a request to its plan: every row is checked before anything is drawn, and what was asked for is fixed then."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from rayograph.conditioning.member_columns import to_array, whole
from rayograph.config import Request, Sample
from rayograph.errors import ConfigError, DataError, StorageError
from rayograph.runs.artifact import Artifact
from rayograph.runs.digests import sha256
from rayograph.runs.stage_context import StageContext
from rayograph.sampling.requests.model_spec import ModelSpec
from rayograph.sampling.requests.options import options
from rayograph.sampling.requests.plan import PAGE, Plan, commit_plan, open_plan
from rayograph.sampling.requests.readers import fingerprint, read_rows
from rayograph.sampling.requests.row_group import page_bytes
from rayograph.sampling.requests.sample_batch import ALWAYS_PER_SAMPLE, Group
from rayograph.sampling.requests.validation import Checker
from rayograph.storage import Access

GUIDANCE = "guidance_scale"

_GROUPED = ("width", "height", *(option.name for option in options() if not option.per_sample))
_IN_GROUPS = {"count", "seed", *_GROUPED}
"""Columns that a page has beside its rows, or not at all: its samples' groups say them."""

MAX_GROUPS = 1000
"""Of sizes, steps and schedulers: each draws in batches of its own."""


def plan_request(artifact: Artifact, declared: Sample, seed: int, spec: ModelSpec, endpoint_url: Access) -> Plan:
    """The artifact's plan, made now unless one is committed. Memory does not grow with the rows.

    Raises DataError for the first bad row, before anything is written, and for a request that has changed since.
    """
    plan = open_plan(artifact, spec.conditioner)
    request = declared.request
    if plan is None:
        _steps_fit(declared, "", spec)
    if request is None:
        return plan or _counted(artifact, declared, seed, spec)
    try:
        source = fingerprint(request, endpoint_url)
    except (DataError, StorageError):
        if plan is None:
            raise
        return plan  # which holds the rows: their file is gone, as where a store was moved
    if plan is not None:
        if plan.source != source:
            raise DataError(
                f"{request.uri}: changed since {artifact.uri} was planned: raise request.revision to draw anew, or put "
                "the file back"
            )
        return plan
    checker = Checker(request, spec, declared.sampler)
    trial, rows = _Grouping(checker), 0
    for page in _pages(checker, endpoint_url):
        rows += len(trial.numbers(page))
    if not rows:
        raise DataError(f"{request.uri}: expected a row at least, found none")
    return _planned(artifact, declared, seed, checker, source, endpoint_url)


def validate_request(declared: Sample, where: str, spec: ModelSpec, endpoint_url: Access) -> None:
    """Looks at a request's first rows only: before a job trains for weeks, to draw by it in the end."""
    _steps_fit(declared, f"{where}.", spec)
    if declared.request is not None:
        next(_pages(Checker(declared.request, spec, declared.sampler), endpoint_url), None)


def _steps_fit(declared: Sample, where: str, spec: ModelSpec) -> None:
    if declared.sampler.num_inference_steps > spec.num_train_timesteps:
        raise ConfigError(
            f"{where}sampler.num_inference_steps: expected at most {spec.num_train_timesteps}, the model's, got "
            f"{declared.sampler.num_inference_steps}"
        )


def _pages(checker: Checker, endpoint_url: Access) -> Iterator[pa.Table]:
    first = 0
    for table in read_rows(checker.request, checker.spec.conditioner, endpoint_url):
        yield checker.page(table, first)
        first += len(table)


def _counted(artifact: Artifact, declared: Sample, seed: int, spec: ModelSpec) -> Plan:
    sampler = declared.sampler
    said = {"source": {}, "samples": declared.num_samples, "pages": []} | _common(declared, seed, spec)
    guided = spec.is_conditional and sampler.guidance_scale != 1.0
    group = Group.of(sampler, spec.side, spec.side, guided, spec.flow)
    return commit_plan(artifact, said, [group], spec.conditioner)


def _common(declared: Sample, seed: int, spec: ModelSpec) -> dict[str, Any]:
    """What a plan says whatever was asked for. `num_classes` is named so from when classes were all there was."""
    said = {"seed": seed, "unit_size": declared.unit_size, "num_classes": spec.conditioner.distinct_examples}
    of_all = {option.name: option.default for option in options() if option.per_sample}
    given = {name: getattr(declared.sampler, name) for name in of_all}
    return said | {name: value for name, value in given.items() if name in ALWAYS_PER_SAMPLE or value != of_all[name]}


def _planned(
    artifact: Artifact, declared: Sample, seed: int, checker: Checker, source: dict[str, Any], endpoint_url: Access
) -> Plan:
    grouping = _Grouping(checker)
    entries: list[dict[str, Any]] = []
    first = 0
    for number, page in enumerate(_pages(checker, endpoint_url)):
        counts, groups = to_array(page["count"]), grouping.numbers(page)
        ends = first + np.cumsum(counts)
        places = {"first": ends - counts, "count": counts, "group": groups, "seed": page["seed"]}
        rest = [name for name in page.column_names if name not in _IN_GROUPS]
        table = pa.table(places | {name: page[name] for name in rest})
        data = page_bytes(table)
        digest = sha256(data)
        name = PAGE.format(number, digest[:8])
        artifact.store.put_if_absent(artifact.key(name), data)
        samples = np.bincount(groups, weights=counts.astype(np.float64)).astype(np.int64)
        counted = {str(group): int(count) for group, count in enumerate(samples) if count}
        entries.append({"name": name, "sha256": digest, "rows": len(groups), "first": first, "samples": counted})
        first = int(ends[-1]) if len(ends) else first
    said = {"source": source, "samples": first, "pages": entries} | _common(declared, seed, checker.spec)
    if fingerprint(checker.request, endpoint_url) != source:
        raise DataError(f"{checker.request.uri}: changed while it was read")
    return commit_plan(artifact, said, grouping.groups, checker.spec.conditioner)


class _Grouping:
    """Numbers groups as they come up."""

    def __init__(self, checker: Checker) -> None:
        self._request: Request = checker.request
        self._sampler, self._spec = checker.sampler, checker.spec
        self._known: dict[tuple[Any, ...], int] = {}
        self.groups: list[Group] = []

    def numbers(self, page: pa.Table) -> np.ndarray:
        """Each row's group. Raises DataError for more than `MAX_GROUPS`."""
        guided = to_array(page[GUIDANCE]) != 1.0 if self._spec.is_conditional else np.zeros(len(page), bool)
        code = guided.astype(np.int64)
        for name in _GROUPED:
            column = whole(page[name])
            values = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
            code = code * len(values.dictionary) + values.indices.to_numpy()
        codes, rows, which = np.unique(code, return_index=True, return_inverse=True)
        numbers = np.empty(len(codes), np.int64)
        for at in np.argsort(rows):
            row = int(rows[at])
            said = {name: page[name][row].as_py() for name in _GROUPED}
            key = (*said.values(), bool(guided[row]))
            if key not in self._known:
                self._known[key] = len(self.groups)
                self.groups.append(self._group(said, bool(guided[row])))
            numbers[at] = self._known[key]
        if len(self.groups) > MAX_GROUPS:
            raise DataError(
                f"{self._request.uri}: expected at most {MAX_GROUPS} different sizes, steps and schedulers, which are "
                "batches of their own"
            )
        return numbers[which]

    def _group(self, said: dict[str, Any], guided: bool) -> Group:
        """A row with another scheduler than the job's has that one's own spacing, and no eta."""
        width, height = said.pop("width"), said.pop("height")
        return Group.of(self._sampler.replaced(said), width, height, guided, self._spec.flow)


def planned_request(stage: StageContext, declared: Sample) -> Plan:
    """Return the committed plan, made now where there is none. Raises DataError for a request's first bad row."""
    model, trained = stage.input("model")
    return plan_request(stage.artifact, declared, stage.seed, ModelSpec.of(model, trained), stage.scale.access)
