"""JPEG shards of photos of 0.25–0.3 megapixels to batches of 256² pixels, against every peer."""

from images import Case, compare

GOALS = {"WebDataset, stock decoder": "≥ 2.0×", "WebDataset, fast decoder": "≥ 1.2×", "bare": "≥ 0.8×"}

if __name__ == "__main__":
    compare(Case("bench_01_photos", "photos", 12_288, 256, 1536, GOALS))
