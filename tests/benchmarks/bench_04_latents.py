"""Moments shards (8×32×32 float16 and a class) to batches, against every peer: no decoding, only moving bytes."""

import data
from harness import alternate, record, row
from memory_rate import copy_bytes_per_second
from sides import cpu, ours, peer, rate

NAME, BATCH, SAMPLES, ROW_BYTES = "bench_04_latents", 256, 65_536, 8 * 32 * 32 * 2
GOALS = {"WebDataset": "≥ 25×", "LitData": "≥ 3×"}


def main() -> None:
    """Our stream by a thread of the worker (what its profile recommends for moments), and by Ray Data tasks."""
    folder = data.make("latents16", SAMPLES, 1024, ("wds", "litdata", "mds"))
    common = ("--data", str(folder), "--kind", "latents", "--batch-size", str(BATCH), "--workers", "2")
    long = (*common, "--batches", str(SAMPLES // BATCH), "--warm-up", str(SAMPLES // BATCH // 4))
    short = (*common, "--batches", str(SAMPLES // BATCH // 4), "--warm-up", str(SAMPLES // BATCH // 8))
    sides = [
        ours("rayograph, in the worker", "worker", *long),
        ours("rayograph, by tasks", "tasks", *long),
        peer("WebDataset", "webdataset", *short),
        peer("LitData", "litdata", *long),
        peer("MosaicML Streaming", "streaming", *short),
        peer("Ray Data", "ray_data", *short),
    ]
    found = alternate(*sides)
    rates, costs = [[[measure(r) for r in results] for results in found] for measure in (rate, cpu)]
    limit = f"bytes ÷ copy rate of one core: {copy_bytes_per_second() / ROW_BYTES:,.0f} samples/s a copy"
    rows = []
    for mine, case in enumerate(("in the worker", "by Ray Data tasks")):
        for place in range(2, len(sides)):
            goal = "" if mine else GOALS.get(sides[place].name, "")
            compared = rates[mine], rates[place]
            known = found[place][0]["versions"]
            spent = {"cpu": costs[mine], "peer_cpu": costs[place]}
            name = sides[place].name
            rows.append(
                row(NAME, case, "samples/s", name, *compared, goal=goal, limit=limit, peer_versions=known, **spent)
            )
    record(NAME, rows)


if __name__ == "__main__":
    main()
