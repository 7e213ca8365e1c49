"""What a request's rows mean, checked whole columns at a time: every row is good, or one line names the first bad one.

Shapes: n rows.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rayograph.config import Request, Sampler
from rayograph.config.diffusion import HIGHEST_GUIDANCE
from rayograph.config.explain import suggestion
from rayograph.errors import DataError
from rayograph.sampling.classes import class_number
from rayograph.sampling.requests.model_spec import ModelTraits
from rayograph.sampling.requests.readers import KNOWN, SEEDS, shown

MAX_TEXT_BYTES = 10_000
"""Of a prompt, or of any column that is carried along: it travels in every image's record."""

CONDITIONS = ("prompt", "boxes", "map", "image", "mask")
"""What a model may be conditioned on beside classes; none that is trained here takes them yet."""

MAX_COUNT = 10**9
SCHEDULERS = ("ddim", "dpmsolver++", "euler_ancestral")


@dataclass(frozen=True)
class Checker:
    """Makes a page of good rows of a table as it was read."""

    request: Request
    traits: ModelTraits
    sampler: Sampler

    def page(self, table: pa.Table, first_row: int) -> dict[str, Any]:
        """Columns of the rows from number `first_row` on: count, width, height, num_inference_steps (n,) int64,
        scheduler (n,) its place in SCHEDULERS, guidance_scale (n,) float64, seed (n,) Arrow uint64 with nulls,
        classes (n,) int64 where the model has classes, and an Arrow column for each one that is kept.

        Raises DataError naming file, row and column, what was expected and what came.
        """
        self._columns(table.column_names)
        rows, side = len(table), self.traits.side
        read = _Reader(self.request.uri, first_row, rows, {})
        for name in table.column_names:
            read.columns[name] = read.plain(name, table[name])
        steps = self.traits.num_train_timesteps
        page: dict[str, Any] = {
            "count": read.integers("count", 1, MAX_COUNT, 1),
            "width": read.integers("width", 1, self.request.max_side, side),
            "height": read.integers("height", 1, self.request.max_side, side),
            "num_inference_steps": read.integers("num_inference_steps", 1, steps, self.sampler.num_inference_steps),
            "guidance_scale": read.reals("guidance_scale", 0.0, HIGHEST_GUIDANCE, self.sampler.guidance_scale),
            "scheduler": read.choice("scheduler", SCHEDULERS, self.sampler.scheduler),
            "seed": read.seeds("seed"),
        }
        for name in ("width", "height"):
            wrong = page[name] % self.traits.multiple != 0
            read.refuse(name, wrong, f"a multiple of {self.traits.multiple}", page[name])
        if self.traits.num_classes:
            page["classes"] = read.classes("class", self.traits)
        for name in self.request.keep:
            page[name] = read.texts(name)
        return page

    def _columns(self, names: list[str]) -> None:
        uri, kept = self.request.uri, self.request.keep
        for name in names:
            if names.count(name) > 1:
                raise DataError(f"{uri}: column {name!r}: expected once, found {names.count(name)} times")
            if name not in KNOWN and name not in CONDITIONS and name not in kept:
                raise DataError(f"{uri}: column {name!r}: not known{suggestion(name, KNOWN)}; `keep` carries it along")
        for name in CONDITIONS:
            if name in names and name not in kept:
                takes = "classes" if self.traits.num_classes else "no condition"
                what = "text" if name == "prompt" else name
                raise DataError(f"{uri}: column {name!r}: the model takes {takes}, no {what}; `keep` carries it along")
        missing = [name for name in kept if name not in names]
        if self.traits.num_classes and "class" not in names:
            missing.insert(0, "class")
        if missing:
            raise DataError(f"{uri}: expected a column {missing[0]!r}, got {', '.join(map(repr, names)) or 'none'}")
        if not self.traits.num_classes and "class" in names:
            raise DataError(f"{uri}: column 'class': expected none, as the model has no classes")


@dataclass(frozen=True)
class _Reader:
    """Columns of one table, each checked as it is taken."""

    uri: str
    first_row: int
    rows: int
    columns: dict[str, pa.Array]

    def refuse(self, name: str, wrong: np.ndarray, expected: str, values: Any) -> None:
        """Raises DataError for the first row that is wrong."""
        if wrong.any():
            row = int(np.argmax(wrong))
            value = values[row]
            got = shown(value.as_py() if isinstance(value, pa.Scalar) else value.item())
            raise DataError(f"{self.uri} row {self.first_row + row}: {name}: expected {expected}, got {got}")

    def plain(self, name: str, values: pa.ChunkedArray) -> pa.Array:
        """One array of few types: text is string or large_string and all UTF-8, numbers are (u)int64 or float64."""
        if pa.types.is_dictionary(values.type):
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
            self.refuse(name, ~(np.isfinite(reals) & (reals == np.floor(reals))), expected, values)
            self.refuse(name, (reals < low) | (reals > high), expected, values)
            return reals.astype(np.int64)
        numbers = filled.to_numpy(zero_copy_only=False)
        self.refuse(name, (numbers < low) | (numbers > high), expected, values)
        return numbers.astype(np.int64)

    def reals(self, name: str, low: float, high: float, default: float) -> np.ndarray:
        values = self._numbers(name)
        if values is None:
            return np.full(self.rows, default)
        reals = values.cast(pa.float64(), safe=False).fill_null(default).to_numpy(zero_copy_only=False)
        self.refuse(name, ~((reals >= low) & (reals <= high)), f"a number from {low:g} to {high:g}", values)
        return reals

    def seeds(self, name: str) -> pa.Array:
        """uint64, null where the job's own seed counts."""
        values = self._numbers(name)
        if values is None:
            return pa.nulls(self.rows, pa.uint64())
        if pa.types.is_floating(values.type):
            reals = values.fill_null(0).to_numpy(zero_copy_only=False)
            exact = np.isfinite(reals) & (reals == np.floor(reals)) & (np.abs(reals) <= 2.0**53)
            self.refuse(name, ~exact | (reals < 0), SEEDS, values)
        elif pa.types.is_signed_integer(values.type):
            self.refuse(name, values.fill_null(0).to_numpy(zero_copy_only=False) < 0, SEEDS, values)
        return values.cast(pa.uint64())

    def choice(self, name: str, known: tuple[str, ...], default: str) -> np.ndarray:
        values = self.columns.get(name)
        if values is None or pa.types.is_null(values.type):
            return np.full(self.rows, known.index(default), np.int64)
        if not _is_text(values.type):
            self.refuse(name, np.ones(self.rows, bool), f"one of {', '.join(known)}", values)
        places = pc.index_in(values.fill_null(default), value_set=pa.array(known, values.type))
        self.refuse(name, _nulls(places), f"one of {', '.join(known)}", values)
        return places.to_numpy(zero_copy_only=False).astype(np.int64)

    def classes(self, name: str, traits: ModelTraits) -> np.ndarray:
        """Numbers, or names, by the rule of classes.py."""
        values, names = self.columns[name], traits.class_names or ()
        expected = f"a class from 0 to {traits.num_classes - 1}"
        if names and names != tuple(map(str, range(traits.num_classes))):
            expected += f" or its name ({', '.join(names[:8])}{', …' if len(names) > 8 else ''})"
        if pa.types.is_nested(values.type):
            self.refuse(name, np.ones(self.rows, bool), expected, values)
        distinct = values.dictionary_encode()
        given = distinct.dictionary.to_pylist()
        meant = [class_number(one, names) for one in given]
        known = [number if number is not None and 0 <= number < traits.num_classes else None for number in meant]
        if traits.class_names is None:  # names will be known once the data is packed
            names_to_be = [number is None and isinstance(one, str) for one, number in zip(given, meant, strict=True)]
            known = [0 if later else number for later, number in zip(names_to_be, known, strict=True)]
        numbers = pa.array(known, pa.int64()).take(distinct.indices)
        self.refuse(name, _nulls(numbers), expected, values)
        found: np.ndarray = numbers.to_numpy(zero_copy_only=False)
        return found

    def texts(self, name: str) -> pa.Array:
        """As strings, whatever they were."""
        values = self.columns[name]
        if not _is_text(values.type):
            try:
                values = values.cast(pa.string())
            except pa.ArrowException:
                raise DataError(f"{self.uri}: column {name!r}: expected text or numbers, got {values.type}") from None
        long = pc.binary_length(values).fill_null(0).to_numpy(zero_copy_only=False) > MAX_TEXT_BYTES
        self.refuse(name, long, f"at most {MAX_TEXT_BYTES} bytes", values)
        return values.cast(pa.string())

    def _numbers(self, name: str) -> pa.Array | None:
        values = self.columns.get(name)
        if values is None or pa.types.is_null(values.type):
            return None
        if not (pa.types.is_integer(values.type) or pa.types.is_floating(values.type)):
            self.refuse(name, ~_nulls(values), "a number", values)
            return None
        return values


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _nulls(values: pa.Array) -> np.ndarray:
    found: np.ndarray = values.is_null().to_numpy(zero_copy_only=False)
    return found
