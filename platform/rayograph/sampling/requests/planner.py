"""From a request to its plan: every row is checked before anything is drawn, and what was asked for is fixed then."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from rayograph.config import Request, Sample
from rayograph.errors import ConfigError, DataError, StorageError
from rayograph.runs.artifact import Artifact
from rayograph.runs.digests import sha256
from rayograph.sampling.requests.model_spec import ModelTraits
from rayograph.sampling.requests.plan import PAGE, Plan, commit_plan, open_plan
from rayograph.sampling.requests.readers import fingerprint, read_rows
from rayograph.sampling.requests.row_group import KEEP, page_bytes
from rayograph.sampling.requests.sample_batch import Group
from rayograph.sampling.requests.validation import SCHEDULERS, Checker
from rayograph.storage import Access

MAX_GROUPS = 1000
"""Of sizes, steps and schedulers: each draws in batches of its own."""


def freeze(artifact: Artifact, declared: Sample, seed: int, traits: ModelTraits, endpoint_url: Access) -> Plan:
    """The artifact's plan, made now unless one is committed. Memory does not grow with the rows.

    Raises DataError for the first bad row, before anything is written, and for a request that has changed since.
    """
    plan = open_plan(artifact)
    request = declared.request
    if plan is None:
        _steps_fit(declared, "", traits)
    if request is None:
        return plan or _counted(artifact, declared, seed, traits)
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
    checker = Checker(request, traits, declared.sampler)
    trial, rows = _Grouping(checker), 0
    for page in _pages(checker, endpoint_url):
        rows += len(trial.numbers(page))
    if not rows:
        raise DataError(f"{request.uri}: expected a row at least, found none")
    return _planned(artifact, declared, seed, checker, source, endpoint_url)


def glance(declared: Sample, where: str, traits: ModelTraits, endpoint_url: Access) -> None:
    """Looks at a request's first rows only: before a job trains for weeks, to draw by it in the end."""
    _steps_fit(declared, f"{where}.", traits)
    if declared.request is not None:
        next(_pages(Checker(declared.request, traits, declared.sampler), endpoint_url), None)


def _steps_fit(declared: Sample, where: str, traits: ModelTraits) -> None:
    if declared.sampler.num_inference_steps > traits.num_train_timesteps:
        raise ConfigError(
            f"{where}sampler.num_inference_steps: expected at most {traits.num_train_timesteps}, the model's, got "
            f"{declared.sampler.num_inference_steps}"
        )


def _pages(checker: Checker, endpoint_url: Access) -> Iterator[dict[str, Any]]:
    first = 0
    for table in read_rows(checker.request, endpoint_url):
        yield checker.page(table, first)
        first += len(table)


def _counted(artifact: Artifact, declared: Sample, seed: int, traits: ModelTraits) -> Plan:
    sampler = declared.sampler
    said = {
        "source": {},
        "seed": seed,
        "samples": declared.num_samples,
        "unit_size": declared.unit_size,
        "num_classes": traits.num_classes,
        "guidance_scale": sampler.guidance_scale,
        "pages": [],
    }
    guided = traits.num_classes > 0 and sampler.guidance_scale != 1.0
    group = Group.of(sampler, traits.side, traits.side, guided, traits.flow)
    return commit_plan(artifact, said, [group])


def _planned(
    artifact: Artifact, declared: Sample, seed: int, checker: Checker, source: dict[str, Any], endpoint_url: Access
) -> Plan:
    grouping = _Grouping(checker)
    entries: list[dict[str, Any]] = []
    first = 0
    for number, page in enumerate(_pages(checker, endpoint_url)):
        ends = first + np.cumsum(page["count"])
        groups = grouping.numbers(page)
        columns = {
            "first": ends - page["count"],
            "count": page["count"],
            "group": groups,
            "seed": page["seed"],
            "guidance_scale": page["guidance_scale"],
        }
        if "classes" in page:
            columns["class"] = page["classes"]
        columns |= {KEEP + name: page[name] for name in checker.request.keep}
        data = page_bytes({name: pa.array(values) for name, values in columns.items()})
        digest = sha256(data)
        name = PAGE.format(number, digest[:8])
        artifact.store.put_if_absent(artifact.key(name), data)
        samples = np.bincount(groups, weights=page["count"].astype(np.float64)).astype(np.int64)
        counted = {str(group): int(count) for group, count in enumerate(samples) if count}
        entries.append({"name": name, "sha256": digest, "rows": len(groups), "first": first, "samples": counted})
        first = int(ends[-1]) if len(ends) else first
    said = {
        "source": source,
        "seed": seed,
        "samples": first,
        "unit_size": declared.unit_size,
        "num_classes": checker.traits.num_classes,
        "guidance_scale": declared.sampler.guidance_scale,
        "pages": entries,
    }
    if fingerprint(checker.request, endpoint_url) != source:
        raise DataError(f"{checker.request.uri}: changed while it was read")
    return commit_plan(artifact, said, grouping.groups)


class _Grouping:
    """Numbers groups as they come up."""

    def __init__(self, checker: Checker) -> None:
        self._request: Request = checker.request
        self._sampler, self._flow = checker.sampler, checker.traits.flow
        self._classes = checker.traits.num_classes > 0
        self._known: dict[int, int] = {}
        self.groups: list[Group] = []

    def numbers(self, page: dict[str, Any]) -> np.ndarray:
        """Each row's group. Raises DataError for more than `MAX_GROUPS`."""
        guided = (page["guidance_scale"] != 1.0) if self._classes else np.zeros(len(page["count"]), bool)
        code = page["width"] << 46 | page["height"] << 30 | page["num_inference_steps"] << 8
        code = code | page["scheduler"] << 1 | guided
        codes, rows, which = np.unique(code, return_index=True, return_inverse=True)
        for at in np.argsort(rows):
            row, key = int(rows[at]), int(codes[at])
            if key not in self._known:
                self._known[key] = len(self.groups)
                self.groups.append(self._group(page, row, bool(guided[row])))
        if len(self.groups) > MAX_GROUPS:
            raise DataError(
                f"{self._request.uri}: expected at most {MAX_GROUPS} different sizes, steps and schedulers, which are "
                "batches of their own"
            )
        return np.array([self._known[int(key)] for key in codes], np.int64)[which]

    def _group(self, page: dict[str, Any], row: int, guided: bool) -> Group:
        """A row with another scheduler than the job's has that one's own spacing, and no eta."""
        sampler = self._sampler.of(SCHEDULERS[int(page["scheduler"][row])])
        sampler = sampler.model_copy(update={"num_inference_steps": int(page["num_inference_steps"][row])})
        return Group.of(sampler, int(page["width"][row]), int(page["height"][row]), guided, self._flow)
