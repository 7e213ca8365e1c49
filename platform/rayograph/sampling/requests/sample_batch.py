"""What is to be drawn: rows of a request, one a sample, all of one size and one sample loop.

Shapes: n samples.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rayograph.conditioning.member_columns import to_array, whole
from rayograph.config import Sampler
from rayograph.runs.digests import sha256
from rayograph.sampling.requests.options import per_sample

KEEP = "keep."
"""Before the names of columns that are only carried along."""

ALWAYS = ("scheduler", "num_inference_steps", "spacing", "eta")
"""What every plan says of a group's sampler. A later field is said where it is not its default, so that plans stay what
they were."""

ALWAYS_PER_SAMPLE = ("guidance_scale",)
"""And of its samples."""


@dataclass(frozen=True)
class Group:
    """Samples that fit into one batch: pixels of one size, one sampler, all guided or none.

    `options` are the sampler's, without what is per sample: "eta" is of DDIM alone, and None elsewhere. Plans from
    before spacing and eta were said have neither: they were drawn by "trailing".
    """

    width: int
    height: int
    guided: bool
    options: Mapping[str, Any]

    @staticmethod
    def of(sampler: Sampler, width: int, height: int, guided: bool, flow: bool) -> "Group":
        """What a sampler comes to on a flow, or on a diffusion, every default filled in."""
        said = sampler.model_dump(exclude=set(per_sample()))
        fields = Sampler.model_fields
        said = {name: value for name, value in said.items() if name in ALWAYS or value != fields[name].default}
        said |= {"spacing": sampler.spacing_on(flow), "eta": sampler.eta if sampler.scheduler == "ddim" else None}
        return Group(width, height, guided, said)

    @staticmethod
    def read(said: Mapping[str, Any]) -> "Group":
        """What a plan says of a group."""
        options = {name: value for name, value in said.items() if name not in ("width", "height", "guided")}
        return Group(said["width"], said["height"], said["guided"], options)

    def said(self) -> dict[str, Any]:
        """Plain, for a plan."""
        return {"width": self.width, "height": self.height, "guided": self.guided} | dict(self.options)


@dataclass(frozen=True)
class SampleBatch:
    """A row a sample, in columns: `number`, `seed` (uint64), `counter`; the sampler's options that are per sample; what
    the model is conditioned on; and, after `KEEP`, what is carried along. Noise is of (seed, counter).
    """

    group: Group
    rows: pa.Table

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, part: slice) -> "SampleBatch":
        start, stop, _ = part.indices(len(self))
        return replace(self, rows=self.rows.slice(start, max(0, stop - start)))

    def padded(self, more: int) -> "SampleBatch":
        """The last sample `more` times again at the end."""
        rows = np.minimum(np.arange(len(self) + more), len(self) - 1)
        return replace(self, rows=self.rows.take(pa.array(rows))) if more else self

    def batches(self, size: int) -> Iterator["SampleBatch"]:
        """In order, up to `size` samples each."""
        for start in range(0, len(self), size):
            yield self[start : start + size]

    @property
    def numbers(self) -> np.ndarray:
        return to_array(self.rows["number"])

    @property
    def seeds(self) -> np.ndarray:
        """The bits of uint64, (n,) int64."""
        return to_array(self.rows["seed"]).view(np.int64)

    @property
    def counters(self) -> np.ndarray:
        return to_array(self.rows["counter"])

    @cached_property
    def options(self) -> dict[str, np.ndarray]:
        """(n,) float64 of each sampler's option that is per sample."""
        there = self.rows.column_names
        return {name: to_array(self.rows[name]) for name in per_sample() if name in there}

    @property
    def sampler(self) -> Sampler:
        """Of the whole group; what is per sample is the first one's."""
        said = {name: value for name, value in self.group.options.items() if value is not None}
        said |= {name: float(values[0]) for name, values in self.options.items()}
        return Sampler.model_validate({"spacing": "trailing"} | said)

    @cached_property
    def _files(self) -> dict[str, tuple[pa.Array, list[str | None]]]:
        """Columns of files: each row's place among the different ones, and their digests."""
        found = {}
        for name in self.rows.column_names:
            values = whole(self.rows[name])
            if pa.types.is_binary(values.type):
                values = values.dictionary_encode()
            if pa.types.is_dictionary(values.type) and pa.types.is_binary(values.type.value_type):
                used = pc.unique(values.indices.drop_null()).to_pylist()
                digests = {place: f"sha256:{sha256(values.dictionary[place].as_py())}" for place in used}
                found[name] = values, [digests.get(place) for place in values.indices.to_pylist()]
        return found

    @cached_property
    def _records(self) -> list[dict[str, Any]]:
        common = {"width": self.group.width, "height": self.group.height} | dict(self.group.options)
        common = {name: value for name, value in common.items() if value is not None}
        rows = self.rows.drop_columns(list(self._files))
        for name, (_, digests) in self._files.items():
            rows = rows.append_column(name, pa.array(digests, pa.string()))
        found = []
        for row in rows.to_pylist():
            said = {name.removeprefix(KEEP): value for name, value in row.items() if value is not None}
            found.append(common | said)
        return found

    def record(self, row: int) -> dict[str, Any]:
        """What drew this sample, for people and for drawing it again; of a file its digest."""
        return dict(self._records[row])

    def conditions(self, row: int) -> dict[str, Any]:
        """The record with files as their bytes."""
        return self.record(row) | {name: values[row].as_py() for name, (values, _) in self._files.items()}
