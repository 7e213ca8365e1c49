"""Models that others trained: where their files are, and what they become here."""
