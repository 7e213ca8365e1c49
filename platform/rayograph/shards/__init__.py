"""WebDataset shards: how they are written, found again and walked in a planned order."""
