"""JSON as types: what a committed file holds, and what `json.loads` gives."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    Json = None | bool | int | float | str | Sequence["Json"] | Mapping[str, "Json"]
else:
    Json = object  # records are not walked to check them, neither by pydantic nor by the tests' type checker

JsonObject = Mapping[str, Json]
"""A record to read."""
