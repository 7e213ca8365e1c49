"""Checkpoints: written, kept, gone back to and started from; and the moving averages within."""
