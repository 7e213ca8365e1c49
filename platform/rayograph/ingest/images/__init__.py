"""Images of shards as arrays, for what looks at each of them once: encoding, evaluation, filters."""
