"""The plan of a generation: every sample's number, and the unit of work that draws it, fixed before the first is drawn.

Samples are numbered in the order of the request. Those that fit into one batch form a group; unit k is a fixed range of
one group, the groups one after the other, and becomes output shard k. A plan of 10⁸ rows is a table of pages in memory,
and the rows themselves lie in the artifact, a page at a time.

    request/plan.json                    the commit: groups, pages and their digests
    request/page-000000-<digest>.parquet  rows, checked and with every default filled in
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from rayograph.conditioning.member_columns import nulls
from rayograph.conditioning.protocol import Conditioner
from rayograph.errors import DataError, MissingObjectError
from rayograph.runs.artifact import Artifact
from rayograph.runs.digests import sha256
from rayograph.runs.manifest import DRAWN
from rayograph.sampling.requests.options import options, per_sample
from rayograph.sampling.requests.row_group import Page, fitting, read_page
from rayograph.sampling.requests.sample_batch import Group, SampleBatch
from rayograph.shards.store import shard_name

PLAN, PAGE = "request/plan.json", "request/page-{:06d}-{}.parquet"
SPLIT = DRAWN


@dataclass(frozen=True)
class Unit:
    """Samples [start, stop) of a group."""

    number: int
    group: int
    start: int
    stop: int

    @property
    def shard(self) -> str:
        return shard_name(SPLIT, self.number)

    def __len__(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True)
class Plan:
    """A committed plan. Without pages, samples are the conditioner's examples, which need no rows."""

    artifact: Artifact
    text: bytes
    conditioner: Conditioner | None = None
    """Of the model that draws; to look samples up, none is needed."""

    @cached_property
    def _said(self) -> dict[str, Any]:
        said: dict[str, Any] = json.loads(self.text)
        return said

    @property
    def digest(self) -> str:
        """Of the whole request as it was planned."""
        return sha256(self.text)

    @property
    def source(self) -> dict[str, Any]:
        """What the request's file was (request.fingerprint); empty without one."""
        found: dict[str, Any] = self._said["source"]
        return found

    @property
    def total_samples(self) -> int:
        return int(self._said["samples"])

    @cached_property
    def groups(self) -> list[Group]:
        return [Group.read(group) for group in self._said["groups"]]

    @cached_property
    def _first_units(self) -> np.ndarray:
        """(groups + 1,): the first unit of each group; the last entry is the number of units."""
        samples = self._before[-1]
        return np.concatenate([[0], np.cumsum(-(-samples // self._said["unit_size"]))])

    @property
    def total_units(self) -> int:
        return int(self._first_units[-1])

    @cached_property
    def _before(self) -> np.ndarray:
        """(pages + 1, groups): samples of each group before each page; the last row is all of them."""
        pages = self._said["pages"]
        if not pages:
            return np.array([[0], [self.total_samples]])
        table = np.zeros((len(pages) + 1, len(self.groups)), np.int64)
        for row, page in enumerate(pages, 1):
            for group, samples in page["samples"].items():
                table[row, int(group)] = samples
        return table.cumsum(axis=0)

    def unit(self, number: int) -> Unit:
        group = int(np.searchsorted(self._first_units, number, "right")) - 1
        size = self._said["unit_size"]
        start = int(number - self._first_units[group]) * size
        return Unit(number, group, start, min(start + size, int(self._before[-1, group])))

    def draws(self, unit: Unit) -> SampleBatch:
        """What the unit's samples are; reads the pages that they lie in."""
        if not self._said["pages"]:
            return self._counted(unit)
        before = self._before[:, unit.group]
        first = int(np.searchsorted(before, unit.start, "right")) - 1
        last = int(np.searchsorted(before, unit.stop, "left"))
        parts = []
        for number in range(first, last):
            page = read_page(self.artifact, self._said["pages"][number]["name"], self._said["pages"][number]["sha256"])
            parts.append(self._rows(page, unit, int(before[number])))
        return replace(parts[0], rows=_together([part.rows for part in parts]))

    def place(self, number: int) -> tuple[int, int]:
        """The unit that draws sample `number`, and the sample's row in its shard. Raises DataError for none such."""
        if not 0 <= number < self.total_samples:
            raise DataError(f"sample {number}: expected 0 to {self.total_samples - 1}")
        group, at = 0, number
        if self._said["pages"]:
            pages = self._said["pages"]
            which = int(np.searchsorted([page["first"] for page in pages], number, "right")) - 1
            page = read_page(self.artifact, pages[which]["name"], pages[which]["sha256"])
            row = int(np.searchsorted(page.first, number, "right")) - 1
            group = int(page.group[row])
            earlier = int(page.count[:row][page.group[:row] == group].sum())
            at = int(self._before[which, group]) + earlier + number - int(page.first[row])
        units, row = divmod(at, self._said["unit_size"])
        return int(self._first_units[group]) + units, row

    def condition(self, number: int, column: str) -> object:
        """What a sample is conditioned on, a file as its bytes; None for nothing. Raises DataError for none such."""
        unit, row = self.place(number)
        return self.draws(self.unit(unit))[row : row + 1].conditions(0).get(column)

    def find(
        self, wanted: Mapping[str, str | int], seed: int | None = None, start: int = 0, limit: int = 100
    ) -> list[int]:
        """Numbers of the samples from `start` on that fit all that is wanted: by column, text within it or a number."""
        found: list[int] = []
        for numbers in self._matching(wanted, seed, start, limit):
            found += numbers[: limit - len(found)].tolist()
            if len(found) == limit:
                break
        return found

    def _matching(
        self, wanted: Mapping[str, str | int], seed: int | None, start: int, limit: int
    ) -> Iterator[np.ndarray]:
        if not self._said["pages"]:
            if seed is None or seed == self._said["seed"]:
                for at in range(start, self.total_samples, 65_536):
                    numbers = np.arange(at, min(at + 65_536, self.total_samples))
                    yield numbers[self._examples_fit(numbers, wanted)]
            return
        for entry in self._said["pages"]:
            if entry["first"] + sum(entry["samples"].values()) <= start:
                continue
            page = read_page(self.artifact, entry["name"], entry["sha256"])
            yield page.matching(wanted, seed, self._said["seed"], start, limit)

    def _examples_fit(self, numbers: np.ndarray, wanted: Mapping[str, str | int]) -> np.ndarray:
        """(n,) bool. Without a conditioner, classes are known all the same: they take turns."""
        if not wanted:
            return np.ones(len(numbers), bool)
        classes = self._said["num_classes"]
        if self.conditioner is not None:
            rows = self.conditioner.examples(numbers)
        else:
            rows = pa.table({"class": numbers % classes} if classes else {"": numbers})
        return np.logical_and.reduce([fitting(rows, column, value) for column, value in wanted.items()])

    def _counted(self, unit: Unit) -> SampleBatch:
        numbers = np.arange(unit.start, unit.stop)
        columns: dict[str, Any] = {
            "number": numbers,
            "seed": np.full(len(numbers), self._said["seed"], np.uint64),
            "counter": numbers,
        }
        columns |= {name: np.full(len(numbers), float(self._said[name])) for name in per_sample() if name in self._said}
        if self.conditioner is not None:
            examples = self.conditioner.examples(numbers)
            columns |= {name: examples[name] for name in examples.column_names}
        return SampleBatch(self.groups[unit.group], pa.table(columns))

    def _rows(self, page: Page, unit: Unit, before: int) -> SampleBatch:
        """The unit's samples in one page, which begins after `before` samples of its group."""
        rows = np.flatnonzero(page.group == unit.group)
        counts = page.count[rows]
        ends = before + np.cumsum(counts)
        starts = ends - counts
        first, last = int(np.searchsorted(ends, unit.start, "right")), int(np.searchsorted(starts, unit.stop, "left"))
        rows, starts, ends = rows[first:last], starts[first:last], ends[first:last]
        low, high = np.maximum(starts, unit.start), np.minimum(ends, unit.stop)
        which = np.repeat(np.arange(len(rows)), high - low)
        within = np.arange(len(which)) - np.repeat(np.cumsum(high - low) - (high - low), high - low)
        within += np.repeat(low - starts, high - low)
        source = rows[which]
        chosen, numbers = pa.array(source), page.first[source] + within
        seeds = page.seed.take(chosen)
        columns = {
            "number": pa.array(numbers),
            "seed": seeds.fill_null(pa.scalar(self._said["seed"], pa.uint64())),
            "counter": pa.array(np.where(nulls(seeds), numbers, within)),
        }
        rest = page.rows.take(chosen)
        arrays, names = [*columns.values(), *rest.columns], [*columns, *rest.schema.names]
        return SampleBatch(self.groups[unit.group], pa.Table.from_arrays(arrays, names))


def open_plan(artifact: Artifact, conditioner: Conditioner | None = None) -> Plan | None:
    """The artifact's plan, or None where none is committed."""
    try:
        return Plan(artifact, artifact.read(PLAN), conditioner)
    except MissingObjectError:
        return None


def commit_plan(artifact: Artifact, said: dict[str, Any], groups: list[Group], conditioner: Conditioner) -> Plan:
    """The first of two racing plans stands, and is returned."""
    said = {"format": 1} | said | {"groups": [group.said() for group in groups]}
    artifact.store.put_if_absent(artifact.key(PLAN), json.dumps(said, sort_keys=True).encode())
    return Plan(artifact, artifact.read(PLAN), conditioner)


def _together(tables: list[pa.Table]) -> pa.Table:
    """One table of several pages' rows; an option that only a later page says has its default before."""
    rows = pa.concat_tables(tables, promote_options="default").combine_chunks()
    for option in options():
        if option.per_sample and option.name in rows.column_names:
            at = rows.column_names.index(option.name)
            rows = rows.set_column(at, option.name, rows[option.name].fill_null(option.default))
    return rows
