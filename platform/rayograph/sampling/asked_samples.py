"""The first samples of a generation beside what was asked for, and beside real images of the same captions."""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from rayograph.conditioning.protocol import Conditioner
from rayograph.evaluation.report.page import AskedSample
from rayograph.sampling.requests.options import per_sample
from rayograph.sampling.requests.plan import open_plan
from rayograph.sampling.requests.sample_batch import KEEP
from rayograph.shards.committed import Shards
from rayograph.shards.pixels.decode import EXTENSIONS, render, to_png

if TYPE_CHECKING:
    from rayograph.shards.sample import Sample

SHOWN = 24
CAPTIONS = 4096
"""Real images whose captions are looked at."""
MOST_CHARACTERS = 300

_NOT_ASKED = {"number", "seed", "counter", "class", *per_sample()}
"""Columns that are no condition to be shown: samples of classes have sheets of their own."""


def asked_samples(drawn: Shards, conditioner: Conditioner | None, real: Shards | None) -> list[AskedSample]:
    """Show each of the first samples with its conditions; none of a generation by classes alone, or of other images."""
    plan = open_plan(drawn.artifact, conditioner)
    if plan is None:
        return []
    found: list[AskedSample] = []
    captions: dict[str, bytes] | None = None
    for number in range(min(SHOWN, plan.total_samples)):
        unit, row = plan.place(number)
        batch = plan.draws(plan.unit(unit))[row : row + 1]
        asked = [name for name in batch.rows.column_names if name not in _NOT_ASKED and not name.startswith(KEEP)]
        said = {name: value for name, value in batch.conditions(0).items() if name in asked}
        if not said:
            return []
        if captions is None:
            captions = {} if real is None else dict(_captioned(real))
        name = plan.unit(unit).shard
        (sample,) = drawn.rows(name, drawn.index(name), range(row, row + 1)).samples()
        image = _image(sample)
        if image is not None:
            texts = tuple((one, _text(value)) for one, value in said.items() if not isinstance(value, bytes))
            given = tuple((one, _shown(value, one)) for one, value in said.items() if isinstance(value, bytes))
            real_one = captions.get(str(said.get("prompt", "")).strip())
            found.append(AskedSample(texts, given, _png(image), None if real_one is None else _png(real_one)))
    return found


def _captioned(shards: Shards) -> Iterator[tuple[str, bytes]]:
    seen = 0
    for name in shards.names:
        index = shards.index(name)
        rows = range(min(len(index), CAPTIONS - seen))
        for sample in shards.rows(name, index, rows).samples():
            image = _image(sample) if "txt" in sample.members else None
            if image is not None:
                yield sample.members["txt"].decode(errors="replace").strip(), image
        seen += len(rows)
        if seen >= CAPTIONS:
            return


def _image(sample: "Sample") -> bytes | None:
    return next((sample.members[name] for name in EXTENSIONS if name in sample.members), None)


def _png(data: bytes) -> bytes:
    return to_png(render(data, "image"))


def _shown(data: bytes, name: str) -> bytes:
    """Labels are small numbers, which would all be black: they are spread over what eyes tell apart."""
    pixels = render(data, name)
    largest = int(pixels.max(initial=0))
    return to_png((pixels.astype(np.uint16) * (255 // largest)).astype(np.uint8) if 0 < largest < 64 else pixels)


def _text(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]}…"
