"""Small sets of captioned samples, and conditioners of text that are settled by them."""

import json

import numpy as np

from rayograph.conditioning.text.study import study_captions
from rayograph.conditioning.text.trained_text import TextConditioner
from rayograph.config import Text
from rayograph.ingest.columns import to_npy
from rayograph.runs.artifact import Artifact
from rayograph.shards.committed import Shards
from rayograph.shards.sample import Sample
from rayograph.shards.store import put_shard
from rayograph.storage import open_store

COLOURS, FRUIT = ("red", "green", "blue"), ("apple", "pear")
CAPTIONS = [f"A {colour} {fruit}" for colour in COLOURS for fruit in FRUIT]

SMALL = {
    "max_length": 8, "num_layers": 2, "width": 16, "num_attention_heads": 2, "attention_head_dim": 8,
    "feed_forward": 32,
}  # fmt: skip


def moments(value, side=2):
    return to_npy(np.full((4, side, side), value, np.float32))


def shards(folder, captions, extension="txt"):
    """A shard of moments, a sample a caption; a list is written as lines, or as it is in JSON."""
    samples = []
    for number, caption in enumerate(captions):
        text = json.dumps({"said": caption}) if extension == "json" else caption
        text = "\n".join(text) if isinstance(text, list) else text
        members = {"npy": moments(number)} | ({} if text is None else {extension: text.encode()})
        samples.append(Sample(f"k{number:03d}", members))
    artifact = Artifact(open_store(str(folder)), "a")
    put_shard(artifact, "a.tar", samples)
    return Shards(artifact, ("a.tar",))


def settled(folder, captions=CAPTIONS, **said):
    """The conditioner of a small text transformer."""
    declared = Text(**SMALL | said)
    return TextConditioner(declared, study_captions(declared, [shards(folder, captions)], None))
