"""Losses: small pure functions that read like the papers."""
