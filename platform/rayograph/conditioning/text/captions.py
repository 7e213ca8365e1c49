"""What captions a sample has, which of them is drawn, and those of a whole data set, one after the other."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace

from rayograph.conditioning.protocol import members_of
from rayograph.conditioning.seen import Seen
from rayograph.config.job.conditions.text import CaptionSource
from rayograph.errors import DataError
from rayograph.runs.rng_streams import RngStream
from rayograph.shards.committed import Shards
from rayograph.shards.sample import Sample

TEXT, FACTS = "txt", "json"

BLOCK_ROWS = 4096
"""Samples whose captions are read at once."""


def member_of(source: CaptionSource) -> str:
    """The extension of what holds captions."""
    return TEXT if source.json_field is None else FACTS


def captions_of(sample: Sample, source: CaptionSource) -> list[str]:
    """A sample's captions, one at least. Raises DataError naming a sample that has none."""
    member = member_of(source)
    if member not in sample.members:
        raise DataError(f"{sample.key}: expected a caption ({member}), got {', '.join(sample.members)}")
    try:
        text = sample.members[member].decode("utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(f"{sample.key}: expected a caption in UTF-8, got {sample.members[member][:40]!r}") from None
    if source.json_field is None:
        lines = [line.strip() for line in text.splitlines() if line.strip()] if source.one_a_line else [text.strip()]
        return lines or [""]
    return _listed(text, source.json_field, sample.key)


def drawn(captions: Sequence[str], seen: Seen) -> str:
    """One of them, by seed and position alone."""
    if len(captions) == 1:
        return captions[0]
    return captions[int(seen.rng(RngStream.CAPTION).integers(len(captions)))]


def all_captions(sets: Sequence[Shards], source: CaptionSource) -> Iterator[str]:
    """All captions of all samples, in their order, read without what lies beside them.

    Samples without a caption are passed over: a training names each as it comes to it.
    """
    member = member_of(source)
    for shards in sets:
        for name in shards.names:
            whole = shards.index(name)
            index = replace(whole, members={key: held for key, held in whole.members.items() if key == member})
            for start in range(0, len(index), BLOCK_ROWS):
                rows = shards.rows(name, index, range(start, min(start + BLOCK_ROWS, len(index))))
                for row in range(len(rows)):
                    sample = members_of(rows, row, (member,))
                    if sample.members:
                        yield from captions_of(sample, source)


def _listed(text: str, field: str, key: str) -> list[str]:
    try:
        said = json.loads(text)
    except ValueError:
        said = None
    found = said.get(field) if isinstance(said, dict) else None
    captions = [found] if isinstance(found, str) else found
    if not isinstance(captions, list) or not captions or not all(isinstance(one, str) for one in captions):
        raise DataError(f"{key}: {FACTS}: expected {field!r} to be a text or a list of texts, got {str(found)[:60]!r}")
    return [caption.strip() for caption in captions]
