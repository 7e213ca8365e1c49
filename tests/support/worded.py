"""A conditioner: words, those of a sample's caption, how light an image is; and words it is not of."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal
from zlib import crc32

import numpy as np
import pyarrow as pa

from rayograph.conditioning.member_columns import check_files, nulls, refuse, whole
from rayograph.conditioning.protocol import Conditioner
from rayograph.config.job.conditioners import ConditionerKind
from rayograph.models.specs import DenoiserSpec
from rayograph.shards.pixels.decode import render, to_png
from rayograph.shards.sample import Sample

if TYPE_CHECKING:
    from rayograph.conditioning.network import ConditionerNetwork

PROMPT, NOT, IMAGE = "prompt", "negative_prompt", "image"
WORDS = 64
GREY = to_png(np.full((1, 1, 3), 128, np.uint8))


class WordedConditioner(Conditioner):
    """The work."""

    takes = "a text and an image"
    members = ("txt", "png")
    request_columns: Mapping[str, pa.DataType] = {PROMPT: pa.string(), IMAGE: pa.binary()}
    optional_columns: Mapping[str, pa.DataType] = {NOT: pa.string()}

    def __init__(self, declared: "Worded", facts: Mapping[str, Any] | None) -> None:
        """Nothing has to be known of the data."""
        self.declared = declared

    def decode(self, sample: Sample) -> dict[str, np.ndarray]:
        """Of the image itself."""
        caption, image = sample.members["txt"].decode(), sample.members["png"]
        return {PROMPT: words(caption), NOT: words(None), IMAGE: lightness(image, sample.key)}

    def validate(self, rows: pa.Table) -> pa.Table:
        """A text, and an image that can be decoded."""
        prompts = whole(rows[PROMPT])
        refuse(PROMPT, nulls(prompts), "a text", prompts)
        check_files(IMAGE, "an image", rows[IMAGE], lightness)
        return rows

    def arrays(self, rows: pa.Table) -> dict[str, np.ndarray]:
        """Numbers of words."""
        negative = whole(rows[NOT]).to_pylist() if NOT in rows.column_names else [None] * len(rows)
        return {
            PROMPT: np.stack([words(text.as_py()) for text in whole(rows[PROMPT])]),
            NOT: np.stack([words(text) for text in negative]),
            IMAGE: np.stack([lightness(image.as_py(), IMAGE) for image in whole(rows[IMAGE])]),
        }

    def examples(self, numbers: np.ndarray) -> pa.Table:
        """Numbers spelt out, on grey."""
        prompts = [f"number {number}" for number in numbers.tolist()]
        return pa.table({PROMPT: prompts, IMAGE: pa.array([GREY] * len(numbers), pa.binary())})

    def members_of(self, row: Mapping[str, Any]) -> dict[str, bytes]:
        """The text, and the image as it was given."""
        return {"txt": row[PROMPT].encode(), "given.png": row[IMAGE]}

    def network(self, spec: DenoiserSpec) -> "ConditionerNetwork":
        """A vector a word, and one for light."""
        import torch

        from rayograph.conditioning.network import ConditionerNetwork
        from rayograph.models.conditioning import Conditioning

        class Bag(ConditionerNetwork):
            def __init__(self) -> None:
                super().__init__()
                width = spec.accepts.vector
                self.words, self.light = torch.nn.Linear(WORDS, width), torch.nn.Linear(1, width)

            def embed(self, columns: Mapping[str, torch.Tensor]) -> Conditioning:
                light = self.light(columns[IMAGE][:, None].to(self.light.weight.dtype))
                return Conditioning(vector=self.words(columns[PROMPT].to(self.words.weight.dtype)) + light)

            def null(self, count: int) -> Conditioning:
                return Conditioning(vector=self.words(self.words.weight.new_zeros(count, WORDS)))

            def unconditional(self, columns: Mapping[str, torch.Tensor], count: int) -> Conditioning:
                return Conditioning(vector=self.words(columns[NOT].to(self.words.weight.dtype)))

        return Bag()


def words(text: str | None) -> np.ndarray:
    """(WORDS,) float32: how often each is there."""
    found = np.zeros(WORDS, np.float32)
    for word in (text or "").lower().split():
        found[crc32(word.encode()) % WORDS] += 1
    return found


def lightness(data: bytes, where: str) -> np.ndarray:
    """From 0 to 1. Raises DataError naming what is no image."""
    return np.array(render(data, where).mean() / 255, np.float32)


class Worded(ConditionerKind):
    """Words and light."""

    implemented_by: ClassVar[str | type] = WordedConditioner

    kind: Literal["worded"] = "worded"
