"""What a request's rows mean, checked whole columns at a time: every row is good, or one line names the first bad one.

Shapes: n rows.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rayograph.conditioning.member_columns import WrongRow, nulls, refuse, shown
from rayograph.config import Request, Sampler
from rayograph.config.reading.explain import suggestion
from rayograph.errors import DataError
from rayograph.sampling.requests.column_files import FILE, validated
from rayograph.sampling.requests.model_spec import ModelSpec
from rayograph.sampling.requests.options import Option, options
from rayograph.sampling.requests.sample_batch import ALWAYS_PER_SAMPLE, KEEP
from rayograph.sampling.requests.typed_columns import SEEDS, known_columns
from rayograph.shards.headers import printable

MAX_TEXT_BYTES = 10_000
"""Of a prompt, or of any column that is carried along: it travels in every image's record."""

CONDITIONS = {
    "class": "class",
    "prompt": "text",
    "negative_prompt": "negative text",
    "boxes": "boxes",
    "map": "map",
    "image": "image",
    "mask": "mask",
}
"""Columns that a model may be conditioned on, and what they hold: those that this model does not take are refused."""

MAX_COUNT = 10**9


@dataclass(frozen=True)
class Checker:
    """Makes a page of good rows of a table as it was read."""

    request: Request
    spec: ModelSpec
    sampler: Sampler

    def page(self, table: pa.Table, first_row: int) -> pa.Table:
        """The rows from number `first_row` on, every default filled in: count, width and height (n,) int64, seed uint64
        with nulls; the sampler's options (options.py); what the conditioner reads; after `KEEP`, what is kept.

        Raises DataError naming file, row and column, what was expected and what came.
        """
        files = {name.removeprefix(FILE): table[name] for name in table.column_names if name.startswith(FILE)}
        table = table.drop_columns([f"{FILE}{name}" for name in files])
        self._columns(table.column_names)
        rows, side, conditioner = len(table), self.spec.side, self.spec.conditioner
        read = _Reader(self.request.uri, first_row, rows, {})
        try:
            for name in table.column_names:
                read.columns[name] = read.plain(name, table[name])
            page: dict[str, Any] = {
                "count": read.integers("count", 1, MAX_COUNT, 1),
                "width": read.integers("width", 1, self.request.max_side, side),
                "height": read.integers("height", 1, self.request.max_side, side),
                "seed": read.seeds("seed"),
            }
            for name in ("width", "height"):
                wrong = page[name] % self.spec.multiple != 0
                refuse(name, wrong, f"a multiple of {self.spec.multiple}", page[name])
            for option in options():
                default = getattr(self.sampler, option.name)
                if (
                    option.name in table.column_names
                    or not option.per_sample
                    or option.name in ALWAYS_PER_SAMPLE
                    or default != option.default
                ):
                    page[option.name] = self._option(read, option, default)
            for field in conditioner.form():
                if field.kind == "text" and field.column in read.columns:
                    read.texts(field.column)
            given = {name: read.columns[name] for name in conditioner.columns if name in read.columns}
            conditions = validated(conditioner, pa.table(given))
            conditioner.validate_sizes(conditions, page["height"], page["width"])
            page |= {name: conditions[name] for name in conditions.column_names}
            page |= {f"{KEEP}{name}": read.texts(name) for name in self.request.keep}
        except WrongRow as error:
            where = f"{self.request.uri} row {first_row + error.row}: {error.column}"
            file = files[error.column][error.row].as_py() if error.column in files else None
            where += "" if file is None else f" ({printable(file)})"
            raise DataError(f"{where}: expected {error.expected}, got {error.got}") from None
        return pa.table(page)

    def _option(self, read: "_Reader", option: Option, default: Any) -> np.ndarray | pa.Array:
        if option.choices:
            return read.choice(option.name, option.choices, default)
        if pa.types.is_integer(option.kind):
            high = self.spec.num_train_timesteps if option.name == "num_inference_steps" else int(option.high)
            return read.integers(option.name, int(option.low), high, default)
        return read.reals(option.name, option.low, option.high, default)

    def _columns(self, names: list[str]) -> None:
        uri, kept, conditioner = self.request.uri, self.request.keep, self.spec.conditioner
        known = known_columns(conditioner)
        for name in names:
            if names.count(name) > 1:
                raise DataError(f"{uri}: column {name!r}: expected once, found {names.count(name)} times")
            if name not in known and name not in CONDITIONS and name not in kept:
                raise DataError(f"{uri}: column {name!r}: not known{suggestion(name, known)}; `keep` carries it along")
        for name, what in CONDITIONS.items():
            if name in names and name not in kept and name not in conditioner.columns:
                takes = conditioner.takes
                raise DataError(f"{uri}: column {name!r}: the model takes {takes}, no {what}; `keep` carries it along")
        missing = [name for name in (*conditioner.request_columns, *kept) if name not in names]
        if missing:
            raise DataError(f"{uri}: expected a column {missing[0]!r}, got {', '.join(map(repr, names)) or 'none'}")


@dataclass(frozen=True)
class _Reader:
    """Columns of one table, each checked as it is taken."""

    uri: str
    first_row: int
    rows: int
    columns: dict[str, pa.Array]

    def plain(self, name: str, values: pa.ChunkedArray) -> pa.Array:
        """One array of few types: text is string or large_string and all UTF-8, numbers are (u)int64 or float64.

        Files stay in a dictionary.
        """
        if pa.types.is_dictionary(values.type) and not pa.types.is_binary(values.type.value_type):
            values = values.cast(values.type.value_type)
        kind = values.type
        if pa.types.is_string_view(kind):
            values = values.cast(pa.large_string())
        elif pa.types.is_floating(kind):
            values = values.cast(pa.float64())
        elif pa.types.is_integer(kind) and not pa.types.is_uint64(kind):
            values = values.cast(pa.int64())
        array = pa.concat_arrays(values.chunks) if values.num_chunks else pa.array([], values.type)
        if _is_text(array.type):
            self._utf8(name, array)
        return array

    def _utf8(self, name: str, values: pa.Array) -> None:
        try:
            values.validate(full=True)
        except pa.ArrowException:
            for row, value in enumerate(values.cast(pa.large_binary())):
                try:
                    (value.as_py() or b"").decode()
                except UnicodeDecodeError:
                    where = f"{self.uri} row {self.first_row + row}: {name}"
                    raise DataError(f"{where}: expected text in UTF-8, got {shown(value.as_py())}") from None
            raise

    def integers(self, name: str, low: int, high: int, default: int, expected: str | None = None) -> np.ndarray:
        values = self._numbers(name)
        if values is None:
            return np.full(self.rows, default, np.int64)
        expected = expected or f"a whole number from {low} to {high}"
        filled = values.fill_null(default)
        if pa.types.is_floating(values.type):
            reals = filled.to_numpy(zero_copy_only=False)
            refuse(name, ~(np.isfinite(reals) & (reals == np.floor(reals))), expected, values)
            refuse(name, (reals < low) | (reals > high), expected, values)
            return reals.astype(np.int64)
        numbers = filled.to_numpy(zero_copy_only=False)
        refuse(name, (numbers < low) | (numbers > high), expected, values)
        return numbers.astype(np.int64)

    def reals(self, name: str, low: float, high: float, default: float) -> np.ndarray:
        values = self._numbers(name)
        if values is None:
            return np.full(self.rows, default)
        reals = values.cast(pa.float64(), safe=False).fill_null(default).to_numpy(zero_copy_only=False)
        refuse(name, ~((reals >= low) & (reals <= high)), f"a number from {low:g} to {high:g}", values)
        return reals

    def seeds(self, name: str) -> pa.Array:
        """uint64, null where the job's own seed counts."""
        values = self._numbers(name)
        if values is None:
            return pa.nulls(self.rows, pa.uint64())
        if pa.types.is_floating(values.type):
            reals = values.fill_null(0).to_numpy(zero_copy_only=False)
            exact = np.isfinite(reals) & (reals == np.floor(reals)) & (np.abs(reals) <= 2.0**53)
            refuse(name, ~exact | (reals < 0), SEEDS, values)
        elif pa.types.is_signed_integer(values.type):
            refuse(name, values.fill_null(0).to_numpy(zero_copy_only=False) < 0, SEEDS, values)
        return values.cast(pa.uint64())

    def choice(self, name: str, known: tuple[str, ...], default: str) -> pa.DictionaryArray:
        values, expected = self.columns.get(name), f"one of {', '.join(known)}"
        if values is None or pa.types.is_null(values.type):
            places = pa.array(np.full(self.rows, known.index(default), np.int32))
        else:
            if not _is_text(values.type):
                refuse(name, np.ones(self.rows, bool), expected, values)
            places = pc.index_in(values.fill_null(default), value_set=pa.array(known, values.type))
            refuse(name, nulls(places), expected, values)
        return pa.DictionaryArray.from_arrays(places, pa.array(known))

    def texts(self, name: str) -> pa.Array:
        """As strings, whatever they were."""
        values = self.columns[name]
        if not _is_text(values.type):
            try:
                values = values.cast(pa.string())
            except pa.ArrowException:
                raise DataError(f"{self.uri}: column {name!r}: expected text or numbers, got {values.type}") from None
        long = pc.binary_length(values).fill_null(0).to_numpy(zero_copy_only=False) > MAX_TEXT_BYTES
        refuse(name, long, f"at most {MAX_TEXT_BYTES} bytes", values)
        return values.cast(pa.string())

    def _numbers(self, name: str) -> pa.Array | None:
        values = self.columns.get(name)
        if values is None or pa.types.is_null(values.type):
            return None
        if not (pa.types.is_integer(values.type) or pa.types.is_floating(values.type)):
            refuse(name, ~nulls(values), "a number", values)
            return None
        return values


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
