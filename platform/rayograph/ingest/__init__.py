"""From sources to shards, and from shards to the batches of a training."""
