"""What an S3 server's refusal means, in one line."""

from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    PartialCredentialsError,
)

from rayograph.errors import MissingObjectError, StorageError

_HINTS = {
    "AccessDenied": "check the credentials",
    "Forbidden": "check the credentials",
    "InvalidAccessKeyId": "check the credentials",
    "SignatureDoesNotMatch": "check the credentials",
    "ExpiredToken": "the credentials have expired",
    "RequestTimeTooSkewed": "check this machine's clock",
    "NoSuchBucket": "there is no such bucket",
    "PermanentRedirect": "the bucket is in another region: set AWS_REGION",
    "AuthorizationHeaderMalformed": "the bucket is in another region: set AWS_REGION",
    "NotImplemented": "this server lacks what was asked",
    "EntityTooLarge": "one upload holds 5 GiB at the most",
}


def status_of(error: ClientError) -> int:
    """The HTTP status of the server's answer."""
    return int(error.response["ResponseMetadata"]["HTTPStatusCode"])


@contextmanager
def asking(uri: str, asked: str) -> Iterator[None]:
    """Raises what boto3 raises as `MissingObjectError` or `StorageError`, naming the URI and what was asked of it."""
    try:
        yield
    except ClientError as error:
        status, code = status_of(error), str(error.response["Error"]["Code"])
        if code.isdigit():  # an answer to HEAD has no body to tell more
            code = str(error.response["Error"].get("Message", code))
        if status == 404 and code != "NoSuchBucket":
            raise MissingObjectError(f"{uri}: no such object") from error
        verb = "was refused" if status in (401, 403) else "failed"
        hint = f": {_HINTS[code]}" if code in _HINTS else ""
        raise StorageError(f"{uri}: {asked} {verb} ({status} {code}){hint}") from error
    except (NoCredentialsError, PartialCredentialsError) as error:
        raise StorageError(
            f"{uri}: {asked} failed: no credentials found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile "
            "or a role"
        ) from error
    except (EndpointConnectionError, ConnectTimeoutError) as error:
        raise StorageError(f"{uri}: {asked} failed: nothing answers at {_origin(error)}") from error
    except (BotoCoreError, ValueError) as error:  # boto3 raises ValueError for an endpoint that is no URL
        raise StorageError(f"{uri}: {asked} failed ({' '.join(str(error).split())})") from error


def _origin(error: BotoCoreError) -> str:
    """The endpoint of a failed connection, without the request's path."""
    return "/".join(str(error.kwargs["endpoint_url"]).split("/")[:3])
