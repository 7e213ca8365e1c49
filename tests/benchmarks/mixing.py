"""How well the plan mixes, against a full shuffle of the same samples: a statement about the order, no timing."""

import numpy as np
from harness import Row, row

from rayograph.shards.order.dataset_order import DataSet, slice_rows
from rayograph.shards.order.sample_order import Plan

SHARDS, ROWS, BATCH, LANES, SAMPLE_BYTES = 1000, 1000, 256, 8, 60_000
NAMES = {
    "shards": "distinct shards in a batch",
    "again": "batch-mates of one epoch that are batch-mates in the next, in a million pairs",
    "correlation": "correlation of the places, in the data, of samples that follow each other",
}


def figures(epochs: list[np.ndarray]) -> dict[str, float]:
    """Of two epochs' orders, each the samples' numbers in the data."""
    first, second = (epoch[: len(epoch) // BATCH * BATCH].reshape(-1, BATCH) for epoch in epochs)
    batch_of = np.full(SHARDS * ROWS, -1)
    batch_of[second] = np.arange(len(second))[:, None]
    later = np.sort(batch_of[first], axis=1)
    runs = np.diff(np.flatnonzero(np.diff(later.ravel() + np.arange(len(first)).repeat(BATCH) * 10**6, prepend=-1)))
    pairs = (runs * (runs - 1) / 2).sum()
    return {
        "shards": float(np.mean([len(np.unique(batch // ROWS)) for batch in first])),
        "again": float(pairs / (len(first) * BATCH * (BATCH - 1) / 2) * 1e6),
        "correlation": float(np.corrcoef(epochs[0][:-1], epochs[0][1:])[0, 1]),
    }


def measured() -> tuple[dict[str, float], dict[str, float]]:
    """The plan's figures and a full shuffle's, over a million photos of 60 kB."""
    samples = SHARDS * ROWS
    data_set = DataSet((ROWS,) * SHARDS, slice_rows(samples, samples * SAMPLE_BYTES, LANES))
    plan = Plan((data_set,), 0, BATCH, LANES)
    ours = []
    for epoch in range(2):
        shards, rows = plan.locate(np.arange(epoch * samples, (epoch + 1) * samples))
        ours.append(shards * ROWS + rows)
    random = np.random.default_rng(0)
    return figures(ours), figures([random.permutation(samples) for _ in range(2)])


def rows(benchmark: str) -> list[Row]:
    """The figures as rows of a benchmark: a full shuffle stands where a peer would."""
    case = f"mixing of {SHARDS * ROWS:,} photos of 60 kB in {SHARDS:,} shards, batch {BATCH}"
    return [
        row(benchmark, case, name, "–", [ours], None, limit=f"a full shuffle: {full:.4g}")
        for name, ours, full in zip(NAMES.values(), *(part.values() for part in measured()), strict=True)
    ]


if __name__ == "__main__":
    ours, full = measured()
    for key, name in NAMES.items():
        print(f"{name}: {ours[key]:.4g}, full shuffle {full[key]:.4g}")
