"""JPEG shards of 1024² images to batches of 256² pixels, against every peer."""

from images import Case, compare

GOALS = {"WebDataset, stock decoder": "≥ 3.0×", "bare": "≥ 0.8×"}

if __name__ == "__main__":
    compare(Case("bench_02_large", "large", 1536, 128, 768, GOALS))
