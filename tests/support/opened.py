"""Committed images to look into: three shards and a held-out one, whose samples have not all the same members."""

from rayograph.config import Scale
from rayograph.config.reading.files import load_job
from rayograph.pipeline.resolve import resolve
from rayograph.runs.stage_result import StageResult, commit
from rayograph.shards.sample import Sample
from rayograph.shards.store import put_shard, shard_files, shard_name
from rayograph.storage import ObjectStore

SAMPLES = {
    ("train", 0): [Sample(f"a/{n}", {"png": bytes([n]) * (n + 1), "cls": b"one"}) for n in range(5)],
    ("train", 1): [Sample("b/ü", {"png": b"x" * 3000, "cls": b"zero", "txt": b"a cat"}), Sample("b/2", {"png": b"y"})],
    ("train", 2): [Sample(f"c/{n}", {"png": b"z", "mask.png": b"m"}) for n in range(3)],
    ("held_out", 0): [Sample("h/0", {"png": b"held out", "cls": b"one"})],
}
CLASSES = ["zero", "one"]


def committed(store: ObjectStore) -> str:
    """The URI of these images, as a stage of the digits commits them; their classes are names."""
    stage = resolve(load_job("jobs/digits.py"), Scale(store=store.uri), store)["pack"]
    files, shards = [], []
    for (split, number), samples in SAMPLES.items():
        name = shard_name(split, number)
        listed, record = shard_files(stage.artifact, name, split, put_shard(stage.artifact, name, samples))
        files += listed
        shards.append(record)
    commit(stage, StageResult(files=files, shards=shards, facts={"classes": "name", "class_names": CLASSES}), 0.0)
    return stage.artifact.uri


def read_as(split: str) -> dict[str, dict[str, bytes]]:
    """Members by key, as stages read them: a class by its number."""
    samples = [sample for (name, _), group in SAMPLES.items() if name == split for sample in group]
    numbered = {name.encode(): str(number).encode() for number, name in enumerate(CLASSES)}
    return {s.key: {e: numbered[data] if e == "cls" else data for e, data in s.members.items()} for s in samples}
