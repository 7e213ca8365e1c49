"""Files that conditions of text name outside a job: what tells them from changed ones. Quick to import."""

from rayograph.config.job.conditions.text import Text, TextKind, TokenizerFile
from rayograph.errors import DataError
from rayograph.runs.digests import sha256
from rayograph.storage import Access, open_store


def digest_of_files(declared: TextKind, access: Access) -> str | None:
    """Digest a tokenizer's file; None where none is named. Raises DataError where there is no such file."""
    match declared:
        case Text(tokenizer=TokenizerFile(uri=uri)):
            return sha256(file_bytes(uri, access))
    return None


def file_bytes(uri: str, access: Access) -> bytes:
    """Read one file of any store. Raises DataError where there is none."""
    folder, _, name = uri.rpartition("/")
    store = open_store(folder or ("/" if uri.startswith("/") else "."), access)
    if not name or not store.exists(name):
        raise DataError(f"{uri}: expected a file, found none")
    return store.read(name)
