"""The class of a sample: one learned vector a class, added to the time embedding or attended to; and one for none.

Shapes: n rows, b batch, e width of the time embedding, or of a token.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn

from rayograph.conditioning.class_names import class_number, class_text
from rayograph.conditioning.form import FormField
from rayograph.conditioning.member_columns import nulls, refuse, to_array, whole
from rayograph.conditioning.network import ConditionerNetwork
from rayograph.conditioning.protocol import Arrays, Conditioner
from rayograph.conditioning.unconditional import UnconditionalConditioner
from rayograph.conditioning.values import whole_number
from rayograph.config.job.conditioners import ClassLabel, Unconditional
from rayograph.errors import ConfigError, DataError
from rayograph.models.conditioning import Conditioning
from rayograph.models.specs import DenoiserSpec, LatentShape, Ways
from rayograph.shards.rows import Rows
from rayograph.shards.sample import Sample

CLASS, MEMBER = "class", "cls"

Way = Literal["vector", "cross_attention"]


def class_label_conditioner(declared: ClassLabel, facts: Mapping[str, Any] | None) -> Conditioner:
    """Hold what is declared against the classes of the data; of none, there is no condition.

    Raises ConfigError where it says another number than the data, or "auto" and the data is not known.
    """
    names = tuple(map(str, facts["class_names"])) if facts is not None and "class_names" in facts else None
    said = declared.num_classes
    if names is not None and said == "auto":
        said = len(names)
    if said == "auto":
        raise ConfigError("num_classes: expected a number by now, got 'auto'")
    if names is not None and said not in (0, len(names)):
        expected = f"{len(names)}, the data's classes, or 0" if names else "0, as the data has no classes"
        raise ConfigError(f"num_classes: expected {expected}, got {said}")
    return (
        ClassLabelConditioner(said, names, declared.way) if said else UnconditionalConditioner(Unconditional(), facts)
    )


class ClassLabelConditioner(Conditioner):
    """Where `class_names` are not known yet, a name may be any class's."""

    takes = "classes"
    members = (MEMBER,)
    request_columns: Mapping[str, pa.DataType] = {CLASS: pa.string()}

    def __init__(self, num_classes: int, class_names: tuple[str, ...] | None, way: Way = "vector") -> None:
        self.declared = ClassLabel(num_classes=num_classes, way=way)
        self.num_classes, self.class_names = num_classes, class_names

    @property
    def facts(self) -> dict[str, Any]:
        return {"class_names": list(self.class_names or ())}

    @property
    def distinct_examples(self) -> int:
        return self.num_classes

    def form(self) -> tuple[FormField, ...]:
        return (FormField(CLASS, "class", names=self.class_names or (), count=self.num_classes),)

    def decode(self, sample: Sample) -> Arrays:
        if MEMBER not in sample.members:
            raise DataError(f"{sample.key}: expected a class ({MEMBER}), got {', '.join(sample.members)}")
        number = class_of(sample)
        if not 0 <= number < self.num_classes:
            raise DataError(f"{sample.key}: expected a class from 0 to {self.num_classes - 1}, got {number}")
        return {CLASS: np.array(number, np.int64)}

    def decode_rows(self, groups: Sequence[tuple[Rows, np.ndarray]]) -> Arrays | None:
        """A column of digits at once."""
        classes = np.empty(sum(len(places) for _, places in groups), np.int64)
        for rows, places in groups:
            found = rows.numbers(MEMBER) if rows.has(MEMBER) else None
            if found is None or (found >= self.num_classes).any():
                return None
            classes[places] = found
        return {CLASS: classes}

    def request_value(self, column: str, value: Any) -> str | None:
        """Numbers and names may stand in one column."""
        text = class_text(value)
        if value is not None and text is None:
            raise ValueError("a class's number or name")
        return text

    def requested_by(self, sample: Sample, row: dict[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
        """A number there is one of the artifact's own classes, and is meant by the name that it has among them."""
        if CLASS in row:
            given = row[CLASS]
        elif MEMBER in sample.members:
            given = sample.members[MEMBER].decode(errors="replace").strip()
        else:
            return {}
        names = facts.get("class_names") or ()
        text = class_text(given)
        number = None if text is None else whole_number(text)
        return {CLASS: str(names[number]) if number is not None and 0 <= number < len(names) else given}

    def validate(self, rows: pa.Table) -> pa.Table:
        """Numbers, or names, by the rule of class_names.py."""
        values, names = whole(rows[CLASS]), self.class_names or ()
        expected = f"a class from 0 to {self.num_classes - 1}"
        if names and names != tuple(map(str, range(self.num_classes))):
            expected += f" or its name ({', '.join(names[:8])}{', …' if len(names) > 8 else ''})"
        if pa.types.is_nested(values.type):
            refuse(CLASS, np.ones(len(values), bool), expected, values)
        distinct = values.dictionary_encode()
        given = distinct.dictionary.to_pylist()
        meant = [class_number(one, names) for one in given]
        known = [number if number is not None and 0 <= number < self.num_classes else None for number in meant]
        if self.class_names is None:  # names will be known once the data is packed
            names_to_be = [number is None and isinstance(one, str) for one, number in zip(given, meant, strict=True)]
            known = [0 if later else number for later, number in zip(names_to_be, known, strict=True)]
        numbers = pa.array(known, pa.int64()).take(distinct.indices)
        refuse(CLASS, nulls(numbers), expected, values)
        return pa.table({CLASS: numbers})

    def arrays(self, rows: pa.Table) -> Arrays:
        return {CLASS: to_array(rows[CLASS])}

    def examples(self, numbers: np.ndarray) -> pa.Table:
        """Classes take turns."""
        return pa.table({CLASS: numbers % self.num_classes})

    def members_of(self, row: Mapping[str, Any]) -> dict[str, bytes]:
        return {MEMBER: str(row[CLASS]).encode()}

    def gives(self, latents: LatentShape) -> Ways:
        attended = self.declared.way == "cross_attention"
        return Ways(vector=not attended, cross_attention=attended)

    def network(self, spec: DenoiserSpec) -> "ClassEmbedding":
        attended = self.declared.way == "cross_attention"
        width = spec.accepts.cross_attention if attended else spec.accepts.vector
        return ClassEmbedding(self.num_classes, width or 0, attended)


class ClassEmbedding(ConditionerNetwork):
    """The last vector is of no class. One that is attended to is a token, alone."""

    def __init__(self, num_classes: int, width: int, attended: bool) -> None:
        super().__init__()
        self.embedding, self._attended = nn.Embedding(num_classes + 1, width), attended

    def embed(self, columns: Mapping[str, Tensor]) -> Conditioning:
        return self._told(columns[CLASS])

    def null(self, count: int) -> Conditioning:
        # Not by the weight itself: where weights are kept apart (ZeRO-3), only a call of the module brings them.
        last, device = self.embedding.num_embeddings - 1, self.embedding.weight.device
        return self._told(torch.full((count,), last, device=device))

    def _told(self, classes: Tensor) -> Conditioning:
        vectors = self.embedding(classes)
        return Conditioning(cross_attention=vectors[:, None]) if self._attended else Conditioning(vector=vectors)


def class_of(sample: Sample) -> int:
    """A sample's class. Raises DataError naming a sample whose class is no number of 64 bits."""
    try:
        found = int(sample.members[MEMBER])
    except ValueError:
        found = None
    if found is None or abs(found) >= 1 << 63:
        raise DataError(f"{sample.key}: expected a class's number, got {sample.members[MEMBER][:40]!r}") from None
    return found
