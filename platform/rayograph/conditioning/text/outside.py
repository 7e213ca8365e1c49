"""Files that conditions of text name outside a job: what tells them from changed ones. Quick to import."""

from rayograph.config.job.conditions.text import FrozenText, Text, TextKind, TokenizerFile
from rayograph.errors import DataError
from rayograph.runs.digests import digest_of, sha256
from rayograph.storage import Access, ObjectStore, open_store

CONFIG, TOKENIZER, WEIGHTS = "config.json", "tokenizer.json", ".safetensors"

_ENDS_BYTES = 1 << 20


def digest_of_files(declared: TextKind, access: Access) -> str | None:
    """Digest a tokenizer's file, or an encoder's folder: names, sizes and both ends. None where neither is named.

    Raises DataError where there is no such file.
    """
    match declared:
        case FrozenText():
            store = open_store(declared.encoder_uri, access)
            return digest_of({name: _ends(store, name) for name in encoder_files(store)})
        case Text(tokenizer=TokenizerFile(uri=uri)):
            return sha256(file_bytes(uri, access))
    return None


def encoder_files(store: ObjectStore) -> list[str]:
    """Names of what is read of an encoder's folder. Raises DataError where one is missing; pickles are none."""
    names = sorted(info.key for info in store.list("") if "/" not in info.key)
    weights = [name for name in names if name.endswith(WEIGHTS)]
    indices = [name for name in names if name.endswith(f"{WEIGHTS}.index.json")]
    for wanted, found in ((CONFIG, CONFIG in names), (TOKENIZER, TOKENIZER in names), (f"*{WEIGHTS}", bool(weights))):
        if not found:
            there = ", ".join(names[:6]) or "nothing"
            raise DataError(f"{store.uri}: expected a text encoder's folder with {wanted}, got {there}")
    return sorted({CONFIG, TOKENIZER, *weights, *indices})


def file_bytes(uri: str, access: Access) -> bytes:
    """Read one file of any store. Raises DataError where there is none."""
    folder, _, name = uri.rpartition("/")
    store = open_store(folder or ("/" if uri.startswith("/") else "."), access)
    if not name or not store.exists(name):
        raise DataError(f"{uri}: expected a file, found none")
    return store.read(name)


def _ends(store: ObjectStore, name: str) -> tuple[int, str]:
    size = store.size(name)
    ends = [(0, min(size, _ENDS_BYTES)), (max(0, size - _ENDS_BYTES), min(size, _ENDS_BYTES))]
    return size, sha256(b"".join(store.read_ranges(name, ends)))
