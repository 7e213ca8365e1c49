"""Images of a batch generation, one range read each, as soon as the shard that holds them is whole."""

import io
import json
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from operator import attrgetter
from threading import Lock
from typing import Literal, Protocol, runtime_checkable

from cachetools import LRUCache, TTLCache, cachedmethod
from PIL import Image

from rayograph.api.schemas import Answer, Record
from rayograph.errors import DataError, MissingObjectError, ResourceError
from rayograph.runs.artifact import Artifact
from rayograph.shards.pixels.signatures import kind_of
from rayograph.shards.shard_index import ShardIndex
from rayograph.shards.store import fetch_rows, read_index, shard_name

SPLIT = "samples"  # sampling.units says so too; importing it costs this process torch
MEDIA_TYPES = {"png": "image/png", "jpg": "image/jpeg", "webp": "image/webp"}
GIVEN_TYPES = {
    "PNG": "image/png",
    "JPEG": "image/jpeg",
    "WebP": "image/webp",
    "GIF": "image/gif",
    "BMP": "image/bmp",
    "TIFF": "image/tiff",
    "AVIF": "image/avif",
}
THUMBNAIL_SIDE = 192
MISSED_SECONDS = 1.0
"""For how long a shard that was not there is not asked for again."""

FrameState = Literal["drawn", "waiting", "failed"]


@runtime_checkable
class Plan(Protocol):
    """What is asked of `rayograph.sampling.requests.plan.Plan`."""

    @property
    def total_samples(self) -> int: ...

    def place(self, number: int) -> tuple[int, int]:
        """Unit and row of a sample."""

    def condition(self, number: int, column: str) -> object:
        """What a sample is conditioned on, a file as its bytes."""

    def find(
        self, wanted: Mapping[str, str | int], seed: int | None = None, start: int = 0, limit: int = 100
    ) -> list[int]:
        """Numbers of matching samples from `start` on, ascending: by column, text within it or a number."""


OpenPlan = Callable[[Artifact], Plan | None]
"""An artifact's plan; None until there is one."""


class Frame(Answer):
    """One place of a page: whether its image is drawn, waited for, or given up with its unit."""

    number: int
    state: FrameState


class Page(Answer):
    """`next` is where the next page starts, None after the last; `total` counts all images of the job."""

    images: list[Frame]
    next: int | None
    total: int


@dataclass(frozen=True)
class StoredImage:
    """An image's file, as it lies in its shard, its record, and a tag that changes when its bytes do."""

    data: bytes
    extension: str
    tag: str
    record: Record

    @property
    def media_type(self) -> str:
        return MEDIA_TYPES[self.extension]


class _NotYet(Exception):
    """A plan or a shard that is not there yet."""


_LOCK = attrgetter("_lock")


class Images:
    """Reads plans and indices once; what is committed cannot change. What raises is not remembered."""

    def __init__(self, open_plan: OpenPlan, clock: Callable[[], float] = time.monotonic) -> None:
        self._open_plan, self._lock = open_plan, Lock()
        self._plans: LRUCache[str, Plan] = LRUCache(16)
        self._indices: LRUCache[tuple[str, int], ShardIndex] = LRUCache(2048)
        self._missed: TTLCache[tuple[str, int], bool] = TTLCache(4096, MISSED_SECONDS, timer=clock)
        self._thumbnails: LRUCache[tuple[str, int], tuple[bytes, str]] = LRUCache(4096)

    def page(
        self,
        artifact: Artifact,
        dead: Sequence[str],
        *,
        wanted: Mapping[str, str | int],
        seed: int | None,
        start: int,
        limit: int,
    ) -> Page:
        """Matching images from number `start` on; an empty page while there is no plan. `dead` are shards' names."""
        try:
            plan = self._plan(artifact)
        except _NotYet:
            return Page(images=[], next=None, total=0)
        if not wanted and seed is None:
            numbers = list(range(start, min(start + limit, plan.total_samples)))
        else:
            numbers = plan.find(wanted, seed=seed, start=start, limit=limit)
        units = [plan.place(number)[0] for number in numbers]
        with ThreadPoolExecutor(8) as pool:
            states = dict(pool.map(lambda unit: (unit, self._state(artifact, unit, dead)), set(units)))
        frames = [Frame(number=number, state=states[unit]) for number, unit in zip(numbers, units, strict=True)]
        after = numbers[-1] + 1 if len(numbers) == limit else plan.total_samples
        return Page(images=frames, next=after if after < plan.total_samples else None, total=plan.total_samples)

    def image(self, artifact: Artifact, number: int) -> StoredImage:
        """Read one. Raises ResourceError until it is drawn, MissingObjectError for a number that the plan lacks."""
        try:
            plan = self._plan(artifact)
            if not 0 <= number < plan.total_samples:
                raise MissingObjectError(f"image {number}: expected 0 to {plan.total_samples - 1}")
            unit, row = plan.place(number)
            index = self._index(artifact, unit)
        except _NotYet:
            raise ResourceError(f"image {number}: not drawn yet") from None
        extension = next(name for name in MEDIA_TYPES if name in index.members)
        wanted = replace(index, members={name: index.members[name] for name in (extension, "json")})
        rows = fetch_rows(artifact, _shard(unit), wanted, [row])
        image, record = rows.member(0, extension), rows.member(0, "json")
        if image is None or record is None:
            raise MissingObjectError(f"image {number}: its shard holds no {extension} and record of it")
        tag = f"{int(index.members[extension].checksums[row]):016x}"
        return StoredImage(image, extension, tag, json.loads(record))

    def given(self, artifact: Artifact, number: int, column: str) -> tuple[bytes, str]:
        """Return a file that an image was conditioned on, and its media type. Raises MissingObjectError for none."""
        try:
            found = self._plan(artifact).condition(number, column)
        except (_NotYet, DataError):
            found = None
        if not isinstance(found, bytes):
            raise MissingObjectError(f"image {number}: no file was given as {column[:80]!r}")
        return found, GIVEN_TYPES.get(kind_of(found) or "", "application/octet-stream")

    @cachedmethod(attrgetter("_thumbnails"), key=lambda _, artifact, number: (artifact.path, number), lock=_LOCK)
    def thumbnail(self, artifact: Artifact, number: int) -> tuple[bytes, str]:
        """Bytes and media type of at most `THUMBNAIL_SIDE` pixels a side: the file itself where it is no larger."""
        return _small(self.image(artifact, number))

    def _state(self, artifact: Artifact, unit: int, dead: Sequence[str]) -> FrameState:
        try:
            self._index(artifact, unit)
        except _NotYet:
            return "failed" if _stem(_shard(unit)) in map(_stem, dead) else "waiting"
        return "drawn"

    @cachedmethod(attrgetter("_plans"), key=lambda _, artifact: artifact.path, lock=_LOCK)
    def _plan(self, artifact: Artifact) -> Plan:
        plan = self._open_plan(artifact)
        if plan is None:
            raise _NotYet
        return plan

    @cachedmethod(attrgetter("_indices"), key=lambda _, artifact, unit: (artifact.path, unit), lock=_LOCK)
    def _index(self, artifact: Artifact, unit: int) -> ShardIndex:
        key = (artifact.path, unit)
        with self._lock:
            if key in self._missed:
                raise _NotYet
        try:
            return read_index(artifact, _shard(unit))
        except MissingObjectError:
            with self._lock:
                self._missed[key] = True
            raise _NotYet from None


def _shard(unit: int) -> str:
    return shard_name(SPLIT, unit)


def _stem(shard: str) -> str:
    """shards/samples-000004.tar → samples-000004, which is what a dead-letter unit is called."""
    return shard.rpartition("/")[2].partition(".")[0]


def _small(image: StoredImage) -> tuple[bytes, str]:
    file = Image.open(io.BytesIO(image.data))
    if max(file.size) <= THUMBNAIL_SIDE:
        return image.data, image.media_type
    file.draft("RGB", (THUMBNAIL_SIDE, THUMBNAIL_SIDE))  # a JPEG is decoded no larger than need be
    small = file.convert("RGB")
    small.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=85)
    return buffer.getvalue(), MEDIA_TYPES["jpg"]
