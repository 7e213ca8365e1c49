"""The order of the samples: a pure function of shards, seed, global batch and lanes."""
