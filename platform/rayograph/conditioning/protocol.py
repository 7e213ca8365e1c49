"""The seam: a conditioner says what is read of samples and requests, its network (network.py) what that is for the
denoiser. Quick to import.

Shapes: n rows.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import pyarrow as pa

from rayograph.conditioning.form import FormField, form_of
from rayograph.conditioning.member_columns import to_array
from rayograph.conditioning.seen import Canvas, Seen
from rayograph.config.job.conditioners import ConditionerKind
from rayograph.errors import DataError
from rayograph.models.specs import DenoiserSpec, LatentShape, Ways
from rayograph.shards.rows import Rows
from rayograph.shards.sample import Sample

if TYPE_CHECKING:
    from rayograph.conditioning.network import ConditionerNetwork

Arrays = dict[str, np.ndarray]
"""Columns (n, …) by name: of fixed shapes, what a network is told."""


@runtime_checkable
class Conditioner(Protocol):
    """Small, without weights: it travels to whatever reads samples or checks requests.

    Made of its declaration and of facts of the data, or of the model, as their manifests have them; None where none
    are known yet. Raises ConfigError where declaration and facts do not go together. The names of `decode`'s arrays are
    those of `request_columns`. What has a body here need not be written anew.
    """

    declared: ConditionerKind
    """With all filled in that only the data can tell."""
    takes: str
    """For messages: what the model takes, as "classes"."""
    members: tuple[str, ...]
    """Extensions of what is read of a sample."""
    request_columns: Mapping[str, pa.DataType]
    """What is read of a request's row, each a column that it must have; none of an unconditional model.

    A `pa.binary()` column holds the bytes of files: of `arrays` in a dictionary, as rows may share them.
    """
    optional_columns: Mapping[str, pa.DataType] = {}
    """What a row may say too, and need not: what is left out is null, and where no row says it there is no column."""
    depends_on_view: bool = False
    """Whether what is read depends on how the image is seen: samples are then decoded one by one, by `decode_seen`."""
    needs_examples: bool = False
    """Whether a preview shows little without the conditions of real samples."""

    @property
    def facts(self) -> dict[str, Any]:
        """What a model's manifest keeps, to make the same conditioner of."""
        return {}

    @property
    def remarks(self) -> tuple[str, ...]:
        """What of the data is not told as it is, a line each, for whoever starts a training."""
        return ()

    @property
    def columns(self) -> dict[str, pa.DataType]:
        """All that is read of a request's row."""
        return {**self.request_columns, **self.optional_columns}

    def form(self) -> tuple[FormField, ...]:
        """Return what people are asked for, a field a column."""
        return form_of(self.request_columns, self.optional_columns)

    @property
    def distinct_examples(self) -> int:
        """So many of the first examples differ in what they are of; 0 where nothing tells them apart."""
        return 0

    def decode(self, sample: Sample) -> Arrays:
        """Return what a sample's members say, without the first axis. Raises DataError naming a bad sample."""
        ...

    def decode_seen(self, sample: Sample, seen: Seen) -> Arrays:
        """Decode a sample whose image is seen so."""
        return self.decode(sample)

    def decode_rows(self, groups: Sequence[tuple[Rows, np.ndarray]]) -> Arrays | None:
        """Decode many samples at once, each group's to its places; None where they must be taken one by one."""
        try:
            decoded = {
                int(place): self.decode(members_of(rows, row, self.members))
                for rows, places in groups
                for row, place in enumerate(places)
            }
        except DataError:  # one by one they are named, and others stand in for the bad ones
            return None
        names = decoded[0]
        return {name: np.stack([decoded[place][name] for place in range(len(decoded))]) for name in names}

    def request_value(self, column: str, value: Any) -> Any:
        """Return a JSON row's value as its column holds it. Raises ValueError saying what was expected."""
        return value

    def requested_by(self, sample: Sample, row: dict[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
        """Return what a sample of an artifact of these facts asks for, beside what its JSON says: `row`."""
        return {}

    def validate(self, rows: pa.Table) -> pa.Table:
        """Check a request's columns, whole, and return them as they are kept. Raises WrongRow for the first bad row.

        Of `optional_columns` those are there that a row may say.
        """
        ...

    def validate_sizes(self, rows: pa.Table, heights: np.ndarray, widths: np.ndarray) -> None:
        """Hold validated rows against the pixels (n,) that each asks for. Raises WrongRow for the first bad row."""
        return

    def arrays(self, rows: pa.Table) -> Arrays:
        """Return what validated rows say."""
        return {name: to_array(rows[name]) for name in self.request_columns}

    def arrays_on(self, rows: pa.Table, canvas: Canvas) -> Arrays:
        """Return what validated rows say of images of one size."""
        return self.arrays(rows)

    def examples(self, numbers: np.ndarray) -> pa.Table:
        """Return validated rows for samples by their numbers (n,), where no request says what they are of."""
        ...

    def members_of(self, row: Mapping[str, Any]) -> dict[str, bytes]:
        """Return the members beside a generated image, from which `decode` reads the same."""
        return {}

    def gives(self, latents: LatentShape) -> Ways:
        """Return by which ways it tells a denoiser of such latents; channels beside them are of their grid."""
        return Ways(vector=bool(self.request_columns))

    def network(self, spec: DenoiserSpec) -> "ConditionerNetwork":
        """Build the network with fresh weights, for a denoiser whose ways in are so wide: `spec.accepts`."""
        ...


def members_of(rows: Rows, row: int, extensions: Sequence[str]) -> Sample:
    """One sample with some of its members."""
    found = {name: rows.member(row, name) for name in extensions if name in rows.members}
    return Sample(rows.keys[row], {name: data for name, data in found.items() if data is not None})
