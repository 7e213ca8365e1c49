"""Where images come from: folders, tables, tars, scikit-learn's digits."""

from rayograph.config import ImageFolder, ParquetTable, SklearnDigits, WebDatasetShards
from rayograph.ingest.sources.source import Boxes, Rejected, Row, Source, Task
from rayograph.storage import Access

__all__ = ["Boxes", "Rejected", "Row", "Source", "Task", "open_source"]


def open_source(
    declared: SklearnDigits | ImageFolder | ParquetTable | WebDatasetShards, endpoint_url: Access
) -> Source:
    """The reader of a declared source. Raises DataError or StorageError for a place that is not there."""
    match declared:
        case SklearnDigits():
            from rayograph.ingest.sources.digits import Digits

            return Digits()
        case ImageFolder(metadata=str()):
            from rayograph.ingest.sources.tables.tabled import TabledFolder

            return TabledFolder(declared, endpoint_url)
        case ImageFolder():
            from rayograph.ingest.sources.folder import Folder

            return Folder(declared, endpoint_url)
        case ParquetTable():
            from rayograph.ingest.sources.tables.parquet import ParquetFiles

            return ParquetFiles(declared, endpoint_url)
        case WebDatasetShards():
            from rayograph.ingest.sources.tars import Tars

            return Tars(declared, endpoint_url)
