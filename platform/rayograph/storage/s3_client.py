"""What is used of boto3's client of S3, and what it answers."""

from collections.abc import Mapping
from typing import NotRequired, Protocol, TypedDict, runtime_checkable


class ListedObject(TypedDict):
    """An object in a list."""

    Key: str
    Size: int


class ListedFolder(TypedDict):
    """A common prefix in a list."""

    Prefix: str


class Page(TypedDict):
    """A part of a list."""

    Contents: NotRequired[list[ListedObject]]
    CommonPrefixes: NotRequired[list[ListedFolder]]
    IsTruncated: bool
    NextContinuationToken: NotRequired[str]


class Head(TypedDict):
    """An object without its bytes."""

    ContentLength: int
    Metadata: Mapping[str, str]


class Body(Protocol):
    """Bytes on their way."""

    def read(self) -> bytes:
        """Return them all."""
        ...


class Answer(TypedDict):
    """An object, or a range of it."""

    Body: Body
    ETag: NotRequired[str]
    ContentRange: NotRequired[str]


@runtime_checkable
class S3Client(Protocol):
    """Every request takes what its page of Amazon's reference names, and raises botocore's errors."""

    def list_objects_v2(self, **request: object) -> Page:
        """List a part."""
        ...

    def head_object(self, **request: object) -> Head:
        """Look at an object."""
        ...

    def get_object(self, **request: object) -> Answer:
        """Read an object or a range."""
        ...

    def put_object(self, **request: object) -> object:
        """Write an object."""
        ...

    def delete_object(self, **request: object) -> object:
        """Delete an object."""
        ...
