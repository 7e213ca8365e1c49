"""Layout to image: boxes with labels as tokens, through a transformer, to attend to (Rombach et al. 2022, sec. 4.3.1).

Shapes: n rows, b batch, l tokens, d channels of a token.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn

from rayograph.conditioning.form import FormField
from rayograph.conditioning.member_columns import WrongRow, shown, whole
from rayograph.conditioning.network import ConditionerNetwork
from rayograph.conditioning.protocol import Arrays, Conditioner
from rayograph.conditioning.seen import Seen
from rayograph.conditioning.spatial.layout_boxes import BOXES, PACKED, LabelledBoxes, WrongBoxes, box_tokens, from_json
from rayograph.conditioning.spatial.token_transformer import TokenTransformer, TransformerSize
from rayograph.config.job.conditions.layout import Layout
from rayograph.errors import ConfigError, DataError
from rayograph.models.conditioning import Conditioning
from rayograph.models.specs import DenoiserSpec, LatentShape, Ways
from rayograph.shards.sample import Sample

COLUMN = "boxes"
LABELS = "box_labels"
"""The fact of a data set: names of its labels, in their order."""


class LayoutConditioner(Conditioner):
    """Reads boxes of a sample, in a member of their own or as they were packed, and of a request as JSON."""

    takes = "boxes"
    members = (BOXES, PACKED)
    request_columns: Mapping[str, pa.DataType] = {COLUMN: pa.string()}
    depends_on_view = needs_examples = True

    def __init__(self, declared: Layout, facts: Mapping[str, Any] | None) -> None:
        """Raises ConfigError where it says another number of labels than the data."""
        names = declared.labels if isinstance(declared.labels, tuple) else ()
        if facts is not None and facts.get(LABELS) and not names:
            names = tuple(map(str, facts[LABELS]))
            if declared.labels not in ("auto", len(names)):
                raise ConfigError(f"labels: expected {len(names)}, the data's, got {declared.labels}")
            # How many is declared with a model, and which stands in its manifest's facts: they may be thousands.
            declared = Layout.model_validate(declared.model_dump() | {"labels": len(names)})
        self.declared: Layout = declared
        self.names, self._numbers = names, {name: number for number, name in enumerate(names)}

    @property
    def facts(self) -> dict[str, Any]:
        return {LABELS: list(self.names)} if self.names else {}

    def decode(self, sample: Sample) -> Arrays:
        return {COLUMN: self._tokens(self._boxes(sample), sample.key)}

    def decode_seen(self, sample: Sample, seen: Seen) -> Arrays:
        """Of latents, boxes are of what was encoded."""
        boxes = self._boxes(sample)
        if seen.frame is not None and seen.source is not None:
            boxes = boxes.within(seen.frame, seen.source, self.declared.smallest_share)
        return {COLUMN: self._tokens(boxes, sample.key)}

    def request_value(self, column: str, value: Any) -> Any:
        """A list is kept as JSON."""
        return json.dumps(value, ensure_ascii=False) if isinstance(value, list) else value

    def form(self) -> tuple[FormField, ...]:
        count = self.declared.num_labels or None
        return (FormField(COLUMN, "boxes", names=self.names, count=count, most=self.declared.most_objects),)

    def validate(self, rows: pa.Table) -> pa.Table:
        """Boxes inside, labels known, no more than there are tokens for; kept as JSON."""
        kept = []
        for row, value in enumerate(whole(rows[COLUMN])):
            given = value.as_py()
            try:
                boxes = LabelledBoxes.read(from_json(given))
                if len(boxes.labels) > self.declared.most_objects:
                    raise WrongBoxes(f"at most {self.declared.most_objects} boxes", len(boxes.labels))
                for label in boxes.labels if self.declared.num_labels else ():
                    self._number(label)
            except WrongBoxes as error:
                raise WrongRow(row, COLUMN, error.expected, shown(error.got)) from error
            kept.append(boxes.to_json().decode())
        return pa.table({COLUMN: pa.array(kept, pa.string())})

    def arrays(self, rows: pa.Table) -> Arrays:
        said = [LabelledBoxes.read(json.loads(value.as_py())) for value in whole(rows[COLUMN])]
        return {COLUMN: np.stack([self._tokens(boxes, COLUMN) for boxes in said])}

    def examples(self, numbers: np.ndarray) -> pa.Table:
        """One box in the middle; labels take turns."""
        labels = [number % max(1, self.declared.num_labels) for number in numbers.tolist()]
        said = [
            [{"label": self.names[label] if self.names else label, "box": [0.25, 0.25, 0.75, 0.75]}] for label in labels
        ]
        return pa.table({COLUMN: pa.array([json.dumps(one, ensure_ascii=False) for one in said], pa.string())})

    def members_of(self, row: Mapping[str, Any]) -> dict[str, bytes]:
        return {BOXES: str(row[COLUMN]).encode()}

    def requested_by(self, sample: Sample, row: dict[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
        """The boxes beside a sample of an artifact."""
        if COLUMN in row or BOXES not in sample.members:
            return {}
        return {COLUMN: sample.members[BOXES].decode(errors="replace")}

    def gives(self, latents: LatentShape) -> Ways:
        return Ways(cross_attention=True)

    def network(self, spec: DenoiserSpec) -> "LayoutNetwork":
        if spec.accepts.cross_attention != self.declared.width:
            raise ConfigError(
                f"conditioner.width: expected {spec.accepts.cross_attention}, what the denoiser attends to, got "
                f"{self.declared.width}"
            )
        return LayoutNetwork(self.declared)

    def _boxes(self, sample: Sample) -> LabelledBoxes:
        """Raises DataError naming the sample."""
        try:
            if BOXES in sample.members:
                return LabelledBoxes.read(from_json(sample.members[BOXES]))
            found = LabelledBoxes.packed(from_json(sample.members.get(PACKED, b"null")))
        except WrongBoxes as error:
            raise DataError(f"{sample.key}: boxes: {error}") from error
        if found is None:
            raise DataError(f"{sample.key}: expected boxes ({BOXES}), got {', '.join(sample.members)}")
        return found

    def _tokens(self, boxes: LabelledBoxes, name: str) -> np.ndarray:
        chosen, declared = boxes.largest(self.declared.most_objects), self.declared
        try:
            numbers = [self._number(label) for label in chosen.labels]
        except WrongBoxes as error:
            raise DataError(f"{name}: boxes: {error}") from error
        return box_tokens(numbers, chosen.places, declared.most_objects, declared.vocabulary)

    def _number(self, label: str | int) -> int:
        """Which labels there are may not be known yet: then a name may be any's, where a request is looked at early."""
        count, names = self.declared.num_labels, self.names
        number = self._numbers.get(label) if isinstance(label, str) else label
        if number is None or not 0 <= number < count:
            some = f" or its name ({', '.join(names[:6])}{', …' if count > 6 else ''})" if names else ""
            raise WrongBoxes(f"a label from 0 to {count - 1}{some}" if count else "a label that is declared", label)
        return number


class LayoutNetwork(ConditionerNetwork):
    """The null condition says nothing at all, not even that there is no box."""

    def __init__(self, declared: Layout) -> None:
        super().__init__()
        self._nothing, self._length = declared.vocabulary - 1, declared.length
        self.transformer = TokenTransformer(
            TransformerSize(
                vocabulary=declared.vocabulary,
                length=declared.length,
                num_layers=declared.num_layers,
                width=declared.width,
                num_attention_heads=declared.num_attention_heads,
                attention_head_dim=declared.attention_head_dim,
                feed_forward=declared.feed_forward,
            )
        )
        self.to_logits = nn.Linear(declared.width, declared.vocabulary) if declared.output_projection else None

    def embed(self, columns: Mapping[str, Tensor]) -> Conditioning:
        return Conditioning(cross_attention=self.transformer(columns[COLUMN]))

    def null(self, count: int) -> Conditioning:
        where = next(self.parameters()).device
        tokens = torch.full((1, self._length), self._nothing, dtype=torch.int64, device=where)
        return Conditioning(cross_attention=self.transformer(tokens).expand(count, -1, -1))
