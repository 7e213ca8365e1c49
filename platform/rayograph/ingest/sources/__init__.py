"""Where images come from: folders, tables, tars, and what comes in Python packages."""

from rayograph.config import (
    ImageFolder,
    OpenMoji,
    ParquetTable,
    Photographs,
    Scenes,
    SklearnDigits,
    Tiles,
    WebDatasetShards,
)
from rayograph.config.job.sources import Source as DeclaredSource
from rayograph.ingest.sources.source import Boxes, LeftOut, Rejected, Row, Source, Task
from rayograph.storage import Access

__all__ = ["Boxes", "LeftOut", "Rejected", "Row", "Source", "Task", "open_source"]


def open_source(declared: DeclaredSource, endpoint_url: Access) -> Source:
    """The reader of a declared source.

    Raises DataError or StorageError for a place that is not there, ConfigError for a package that is not installed.
    """
    match declared:
        case Tiles():
            from rayograph.ingest.sources.tiling import TiledSource

            return TiledSource(declared, open_source(declared.source, endpoint_url))
        case Photographs():
            from rayograph.ingest.sources.shipped.photographs import PackagedPhotographs

            return PackagedPhotographs()
        case OpenMoji():
            from rayograph.ingest.sources.shipped.openmoji import OpenMojiDrawings

            return OpenMojiDrawings(declared)
        case Scenes():
            from rayograph.ingest.sources.shipped.scenes import ComposedScenes

            return ComposedScenes(declared)
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
