"""Columns that folders are: label=cat/part.parquet, as Hive and Spark write partitions."""

from collections.abc import Sequence
from urllib.parse import unquote

from rayograph.errors import DataError

_NONE = "__HIVE_DEFAULT_PARTITION__"


def hive_columns(keys: Sequence[str], where: str) -> list[dict[str, str | None]]:
    """Of each key the columns that its folders give. Raises DataError naming a file whose folders give others."""
    found = [_columns(key) for key in keys]
    for key, columns in zip(keys, found, strict=True):
        if columns.keys() != found[0].keys():
            raise DataError(
                f"{where.rstrip('/')}/{key}: expected folders {', '.join(map('{}=…'.format, found[0])) or 'without ='}"
                f", as {keys[0]} has them"
            )
    return found


def _columns(key: str) -> dict[str, str | None]:
    parts = [part.partition("=") for part in key.split("/")[:-1]]
    named = {unquote(name): unquote(value) for name, mark, value in parts if mark and name}
    return {name: None if value == _NONE else value for name, value in named.items()}
