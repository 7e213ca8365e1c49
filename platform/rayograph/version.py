"""The version, where the lowest rooms can read it."""

VERSION = "0.1.0"
