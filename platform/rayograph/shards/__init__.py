"""WebDataset shards: how they are written, found again and read in a planned order."""
