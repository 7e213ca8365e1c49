"""Tables of images: CSV, JSON lines, parquet; their rows, their texts, and what they do not name."""
