"""Ray Train: driver and workers of a training, their number, what they tell each other, previews and records."""
