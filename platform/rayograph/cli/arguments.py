"""Arguments that several commands share, and what they stand for."""

import argparse
import os
from contextlib import suppress

from rayograph.config import Job, Scale
from rayograph.config.reading.files import load_job, load_scale
from rayograph.config.reading.overrides import apply_overrides
from rayograph.storage import Access, ObjectStore, open_store


def add_job(parser: argparse.ArgumentParser) -> None:
    """Declare the job file, its changes, and where it runs."""
    parser.add_argument("job", help="a job file, with :stage for one stage and what it needs")
    add_scale(parser, "a scale profile, such as cluster/laptop/scale.yaml")
    parser.add_argument("--store", metavar="URI", help="where artifacts go, instead of the profile's store")
    add_endpoint_url(parser)
    parser.add_argument(
        "--set", metavar="STAGE.FIELD=VALUE", action="append", default=[], help="change one field; may be repeated"
    )


def add_scale(parser: argparse.ArgumentParser, what: str = "a scale profile: its s3 part counts") -> None:
    """Declare --on."""
    parser.add_argument("--on", metavar="SCALE", help=what)


def add_endpoint_url(parser: argparse.ArgumentParser) -> None:
    """Declare --endpoint-url."""
    parser.add_argument("--endpoint-url", metavar="URL", help="of an S3-compatible server")


def add_store(parser: argparse.ArgumentParser) -> None:
    """Declare the place to look into, and how it is opened."""
    parser.add_argument("uri", help="a store, or any folder in it")
    add_endpoint_url(parser)
    add_scale(parser)


def add_generation(parser: argparse.ArgumentParser) -> None:
    """Declare which generation is meant."""
    parser.add_argument("uri", help="the generation's artifact, as `rayograph ls` shows it below its store")
    add_endpoint_url(parser)


def job_of(options: argparse.Namespace) -> tuple[Job, Scale, str | None]:
    """The job with its changes, where it runs, and the stage that was asked for."""
    path, _, target = options.job.partition(":")
    job, scale = apply_overrides(load_job(path), load_scale(options.on), options.set)
    return job, _placed(scale, options.store, options.endpoint_url), target or None


def scale_of(options: argparse.Namespace, store: str | None = None) -> Scale:
    """The profile; `store` and --endpoint-url count before what it says."""
    return _placed(load_scale(options.on), store, options.endpoint_url)


def access_of(options: argparse.Namespace) -> Access:
    """How stores are opened: the endpoint alone, or with a profile's settings too."""
    if options.on is None:
        return str(options.endpoint_url) if options.endpoint_url else None
    return scale_of(options).access


def store_of(options: argparse.Namespace) -> ObjectStore:
    """The place to look into. Raises StorageError where it cannot be read."""
    store = open_store(options.uri, access_of(options))
    store.check_access(writable=False)
    return store


def _placed(scale: Scale, store: str | None, endpoint_url: str | None) -> Scale:
    """The endpoint is the option's, else the profile's, else the environment's: for workers elsewhere too."""
    found = endpoint_url or scale.endpoint_url or os.environ.get("AWS_ENDPOINT_URL") or None
    placed = {"endpoint_url": found} if store is None else {"endpoint_url": found, "store": store}
    return scale.model_copy(update=placed)


def positive(text: str) -> float:
    """A number above 0."""
    with suppress(ValueError):
        if (value := float(text)) > 0:
            return value
    raise argparse.ArgumentTypeError(f"expected a number above 0, got {text!r}")


def count(text: str) -> int:
    """A whole number from 0 on."""
    with suppress(ValueError):
        if (value := int(text)) >= 0:
            return value
    raise argparse.ArgumentTypeError(f"expected a number from 0 on, got {text!r}")


def port(text: str) -> int:
    """A number from 1 to 65535."""
    with suppress(ValueError):
        if 0 < (value := int(text)) < 1 << 16:
            return value
    raise argparse.ArgumentTypeError(f"expected a number from 1 to 65535, got {text!r}")
