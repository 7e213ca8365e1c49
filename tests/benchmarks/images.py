"""JPEG shards to batches of 256² pixels: what benchmarks 1 to 3 share."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import data
import numpy as np
from harness import Row, alternate, record, row
from ours import SIZE, bare, reader
from PIL import Image
from sides import Side, Slope, cpu, ours, peer, rate

from rayograph.shards.pixels.decode import open_image, render
from rayograph.shards.pixels.frames import middle_square
from rayograph.shards.store import read_index, read_samples

BATCH = 64


@dataclass(frozen=True)
class Case:
    """A kind of images (data.py), how many there are, how many a peer reads a round, and the goals by peer."""

    name: str
    kind: str
    total: int
    per_shard: int
    samples: int
    goals: Mapping[str, str]


def compare(case: Case) -> None:
    """Every peer, stock and with our decoder, against our stream, in alternating rounds."""
    folder = data.make(case.kind, case.total, case.per_shard, ["wds", "litdata", "mds"])
    common = ("--data", str(folder), "--kind", case.kind, "--batch-size", str(BATCH))
    common += ("--batches", str(case.samples // BATCH), "--warm-up", str(case.samples // BATCH // 4), "--workers", "2")
    mine = ours("rayograph", "tasks", *common, "--batches", str(3 * case.samples // BATCH))  # some windows, not one
    peers: list[Side | Slope] = [
        peer(f"{title}, {decoder} decoder", program, *common, "--decoder", decoder)
        for title, program in (
            ("WebDataset", "webdataset"), ("LitData", "litdata"), ("MosaicML Streaming", "streaming"),
            ("Ray Data", "ray_data"),
        )
        for decoder in ("stock", "fast")
    ]  # fmt: skip
    shards = case.samples // case.per_shard
    peers[-2:] = [Slope(side, shards, 2 * shards) for side in peers[-2:] if isinstance(side, Side)]
    *found, decoding = alternate(mine, *peers, lambda _: bare(folder, 2, case.samples))
    rows = [_against(case, side, found[0], results) for side, results in zip(peers, found[1:], strict=True)]
    rows += [
        row(
            case.name, "the decoder alone, nothing read, scaled or shipped", "images/s", "libjpeg-turbo, 2 processes",
            [rate(result) for result in found[0]], [1 / wall for wall, _ in decoding], goal=case.goals["bare"],
            cpu=[cpu(result) for result in found[0]], peer_cpu=[spent for _, spent in decoding],
        ),
        row(
            case.name, "from nothing to the first batch", "s", peers[0].name,
            *[[result["first_batch_seconds"] for result in side] for side in found[:2]], less_is_better=True,
        ),
    ]  # fmt: skip
    rows.append(
        row(
            case.name, "our pixels against a full decode scaled by Pillow's bicubic: median of 128 images", "dB PSNR",
            "–", fidelity(folder), None, limit=f"lowest {min(fidelity(folder)):.1f} dB",
        )
    )  # fmt: skip
    record(case.name, rows)


def fidelity(folder: Path) -> list[float]:
    """Peak signal to noise ratio of every image of the first shard, up to 128."""
    source = reader(folder, "photos", BATCH, 0)
    artifact, name = source.shards[0].artifact, source.shards[0].names[0]
    index = read_index(artifact, name)
    found = []
    for sample in read_samples(artifact, name, index, range(min(128, len(index)))):
        mine = render(sample.members["jpg"], sample.key, partial(middle_square, size=SIZE)).astype(float)
        whole = open_image(sample.members["jpg"], sample.key)
        frame = middle_square(*whole.size, SIZE)
        box = (frame.left, frame.top, frame.left + frame.width, frame.top + frame.height)
        theirs = np.asarray(whole.resize((SIZE, SIZE), Image.Resampling.BICUBIC, box=box), float)
        found.append(10 * np.log10(255**2 / max(1e-3, float(((mine - theirs) ** 2).mean()))))
    return found


def _against(case: Case, side: Side | Slope, mine: list[dict], theirs: list[dict]) -> Row:
    difference = max(abs(a["checksum"] - b["checksum"]) for a, b in zip(mine, theirs, strict=True))
    return row(
        case.name,
        f"{case.kind}, marginal rate",
        "images/s",
        side.name,
        [rate(result) for result in mine],
        [rate(result) for result in theirs],
        goal=case.goals.get(side.name, ""),
        limit=f"mean pixel differs by {difference:.2f} of 255 (other samples)",
        cpu=[cpu(result) for result in mine],
        peer_cpu=[cpu(result) for result in theirs],
        peer_versions=theirs[0]["versions"],
    )


os.environ.setdefault("OMP_NUM_THREADS", "1")
