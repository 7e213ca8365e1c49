"""What an S3 server's refusal means, in one line."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    PartialCredentialsError,
    ReadTimeoutError,
)
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

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


def code_of(error: ClientError) -> str:
    """The server's name for what is wrong; where it gave none, as in every answer to HEAD, the status in words."""
    code = str(error.response["Error"]["Code"])
    return str(error.response["Error"].get("Message", code)) if code.isdigit() else code


def said(error: Exception) -> str:
    """What happened, in a few words: what the server said, or how the connection failed."""
    match error:
        case ClientError():
            return f"{status_of(error)} {code_of(error)}"
        case EndpointConnectionError() | ConnectTimeoutError():
            return f"nothing answers at {_origin(error)}"
        case ReadTimeoutError():
            return "the server fell silent"
        case ConnectionClosedError():
            return "the connection ended before the answer did"
        case ResponseParserError():
            return "an answer cut short, or none of S3's"
    return " ".join(str(error).split())


def _no_history() -> str:
    return ""


@contextmanager
def asking(uri: str, asked: str, history: Callable[[], str] = _no_history) -> Iterator[None]:
    """Raises what boto3 raises as `MissingObjectError` or `StorageError`, naming the URI and what was asked of it.

    `history` ends the line with what was tried before.
    """
    try:
        yield
    except ClientError as error:
        status, code = status_of(error), code_of(error)
        if status == 404 and code != "NoSuchBucket":
            raise MissingObjectError(f"{uri}: no such object") from error
        verb = "was refused" if status in (401, 403) else "failed"
        hint = f": {_HINTS[code]}" if code in _HINTS else ""
        raise StorageError(f"{uri}: {asked} {verb} ({said(error)}){hint}{history()}") from error
    except (NoCredentialsError, PartialCredentialsError) as error:
        raise StorageError(
            f"{uri}: {asked} failed: no credentials found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile "
            "or a role; or, for a public bucket, `s3: {unsigned: true}` in the scale profile"
        ) from error
    except (EndpointConnectionError, ConnectTimeoutError) as error:
        raise StorageError(f"{uri}: {asked} failed: {said(error)}{history()}") from error
    except (BotoCoreError, ResponseParserError, HTTPError, ValueError) as error:
        # boto3 raises ValueError for an endpoint that is no URL.
        raise StorageError(f"{uri}: {asked} failed ({said(error)}){history()}") from error


def _origin(error: BotoCoreError) -> str:
    """The endpoint of a failed connection, without the request's path."""
    return "/".join(str(error.kwargs["endpoint_url"]).split("/")[:3])
