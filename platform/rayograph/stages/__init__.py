"""The six stages: what each reads and commits, and how its work is laid over a Ray cluster."""
