"""JPEG shards of 256² images to batches of their pixels, against every peer."""

from images import Case, compare

GOALS = {"WebDataset, stock decoder": "≥ 2.3×", "Ray Data, stock decoder": "≥ 4×", "bare": "≥ 0.8×"}

if __name__ == "__main__":
    compare(Case("bench_03_small", "small", 16_384, 1024, 8192, GOALS))
