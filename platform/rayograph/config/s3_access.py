"""How buckets of S3 and of the servers like it are asked."""

from typing import Literal

from pydantic import Field

from rayograph.config.declaration import Declaration


class S3Access(Declaration):
    """What one asks a bucket with. Credentials are never among it: boto3's own chain finds them."""

    unsigned: bool = False
    """Whether requests go unsigned, as public buckets allow: no credentials are looked for."""
    requester_pays: bool = False
    """Whether this account pays for what it reads, as some buckets demand."""
    addressing: Literal["auto", "virtual", "path"] = "auto"
    """Where a bucket's name stands: in the host ("virtual"), or in the path. "auto" is the path where there is an
    endpoint URL, and else boto3's choice."""
    endpoint_url: str | None = None
    """Of an S3-compatible server; None is the profile's."""


class S3(S3Access):
    """The settings of all buckets, and those of single ones, which then count instead: `buckets: {name: {…}}`."""

    buckets: dict[str, S3Access] = Field(default_factory=dict)

    def __hash__(self) -> int:
        """By what it says: a dictionary has no hash of its own."""
        return hash(self.model_dump_json())

    def of(self, bucket: str) -> S3Access:
        """The settings of one bucket."""
        own = self.buckets.get(bucket)
        if own is None:
            return S3Access(**self.model_dump(exclude={"buckets"}))
        return own if own.endpoint_url else own.model_copy(update={"endpoint_url": self.endpoint_url})
