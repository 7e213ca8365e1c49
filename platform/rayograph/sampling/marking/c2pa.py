"""Content credentials: C2PA manifests that say, signed, that a trained model made an image, and by which record.

The library and the certificates are optional: pip install 'rayograph[credentials]'. Nothing here asks the network; so
there is no time stamp from elsewhere, and a signature is judged by whether its certificate is valid now.
"""

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, TypedDict, TypeVar

import numpy as np

from rayograph.config import ImageFile
from rayograph.errors import ConfigError, DataError
from rayograph.json_types import Json
from rayograph.sampling.marking.image_encoder import encode
from rayograph.sampling.marking.record import DIGITAL_SOURCE_TYPE, record_in, record_text, xmp_packet

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

RECORD_LABEL = "rayograph.record"
"""Of the assertion {"record": JSON text}: text, because C2PA's integers end below 2⁶³ and seeds below 2⁶⁴."""

EXTRA = "pip install 'rayograph[credentials]'"

_OFFLINE: dict[str, dict[str, object]] = {
    "builder": {"thumbnail": {"enabled": False}},  # it would be larger than the image, and take longer to make
    "verify": {"verify_after_sign": False, "remote_manifest_fetch": False, "ocsp_fetch": False},
}
_CURVES = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}
_LEAST_RSA_BITS = 2048
_Loaded = TypeVar("_Loaded")


class _Assertion(TypedDict):
    label: str
    data: dict[str, str]


class _Manifest(TypedDict, total=False):
    """What of a C2PA manifest is read here."""

    assertions: list[_Assertion]
    signature_info: dict[str, str]


@dataclass(frozen=True)
class Credentials:
    """What an image's manifest comes to. `valid`: the signature holds and the file is as it was signed.

    `problems` are C2PA's status codes; `trusted` says whether the issuer is one that this machine was told to trust,
    which needs a trust list, so that it usually is not.
    """

    issuer: str
    common_name: str
    algorithm: str
    valid: bool
    trusted: bool
    problems: tuple[str, ...]
    record: dict[str, Json] | None


class Signer:
    """Signs image files. It is made where it signs, from PEM files there: it does not pickle, and the key goes nowhere.

    Raises ConfigError at once for whatever keeps it from signing, after signing a small image to see that it can.
    Threads may share one.
    """

    def __init__(self, certificate_file: str, private_key_file: str) -> None:
        self._c2pa = _library()
        chain, key, algorithm = _identity(certificate_file, private_key_file)
        try:
            self._signer = self._c2pa.Signer.from_info(self._c2pa.C2paSignerInfo(algorithm, chain, key, None))
            self._context = _context(self._c2pa)
            probe = encode(np.zeros((8, 8, 3), np.uint8), ImageFile(kind="png"), xmp_packet({}))
            found = credentials_in(self.sign(probe, "png"), "a trial image")
        except (DataError, self._c2pa.C2paError) as error:
            raise _refused(certificate_file, str(error)) from error
        if found is None or not found.valid:
            raise _refused(certificate_file, ", ".join(found.problems) if found else "no manifest came of it")

    def sign(self, data: bytes, kind: str) -> bytes:
        """The file of `kind` (png, jpeg, webp) with a manifest: created by a trained model, and the record of its XMP.

        Pixels and XMP stay as they are. The manifest holds a random number, so two signatures are never the same
        bytes. Raises DataError where the file holds no record or is damaged.
        """
        record = record_in(data, f"a {kind} to be signed")
        action = {"action": "c2pa.created", "digitalSourceType": DIGITAL_SOURCE_TYPE}
        manifest = {
            "claim_generator_info": [{"name": "rayograph"}],
            "assertions": [
                {"label": "c2pa.actions.v2", "data": {"actions": [action]}},
                {"label": RECORD_LABEL, "data": {"record": record_text(record)}},
            ],
        }
        signed = io.BytesIO()
        try:
            builder = self._c2pa.Builder(json.dumps(manifest), self._context)
            builder.sign(self._signer, f"image/{kind}", io.BytesIO(data), signed)
        except self._c2pa.C2paError as error:
            raise DataError(f"a {kind} image of {len(data)} bytes could not be signed: {error}") from error
        return signed.getvalue()


def credentials_in(data: bytes, name: str) -> Credentials | None:
    """The state of the manifest within an image file; None where there is none.

    Raises ConfigError where the library is missing, DataError naming the file for a manifest that cannot be read.
    """
    c2pa = _library()
    try:
        with c2pa.Reader(None, io.BytesIO(data), context=_context(c2pa)) as reader:
            said = json.loads(reader.json())
    except c2pa.C2paError.ManifestNotFound:
        return None
    except c2pa.C2paError as error:
        raise DataError(f"{name}: expected a C2PA manifest that can be read: {error}") from error
    manifest: _Manifest = said.get("manifests", {}).get(
        said.get("active_manifest"), {}
    )  # damaged, it may be named and missing
    signature = manifest.get("signature_info", {})
    state = said.get("validation_state")
    return Credentials(
        issuer=signature.get("issuer") or "nobody named",
        common_name=signature.get("common_name") or "",
        algorithm=signature.get("alg") or "",
        valid=state in ("Valid", "Trusted"),
        trusted=state == "Trusted",
        problems=tuple(status["code"] for status in said.get("validation_status", [])),
        record=_record_of(manifest),
    )


def _record_of(manifest: _Manifest) -> dict[str, Json] | None:
    for assertion in manifest.get("assertions", []):
        if assertion["label"] == RECORD_LABEL:
            try:
                record = json.loads(assertion["data"]["record"])
            except (KeyError, TypeError, ValueError):  # not of our making
                return None
            return record if isinstance(record, dict) else None
    return None


def _library() -> ModuleType:
    try:
        import c2pa
    except ImportError as error:
        raise ConfigError(f"marking.credentials: expected c2pa-python, which is not installed: {EXTRA}") from error
    module: ModuleType = c2pa
    return module


def _context(c2pa: ModuleType) -> object:
    """Return the library's settings, which its readers and builders are given."""
    return c2pa.Context(settings=c2pa.Settings.from_dict(_OFFLINE))


def _refused(certificate_file: str, why: str) -> ConfigError:
    return ConfigError(
        f"sampling.certificate_file: {certificate_file}: expected a certificate that C2PA accepts (issued by a CA, for "
        f"digital signatures, with an extended key usage such as e-mail protection), got: {why}"
    )


def _identity(certificate_file: str, private_key_file: str) -> tuple[bytes, bytes, str]:
    """The certificates and the key as PEM, and C2PA's name of the algorithm. Raises ConfigError."""
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization

    pem, subject_key = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    chain = _loaded("certificate_file", certificate_file, "PEM certificates", x509.load_pem_x509_certificates)
    key = _loaded(
        "private_key_file",
        private_key_file,
        "a PEM private key without a password",
        lambda data: serialization.load_pem_private_key(data, password=None),
    )
    now, leaf = datetime.now(UTC), chain[0]
    if not leaf.not_valid_before_utc <= now <= leaf.not_valid_after_utc:
        valid = f"{leaf.not_valid_before_utc:%Y-%m-%d} to {leaf.not_valid_after_utc:%Y-%m-%d}"
        raise ConfigError(f"sampling.certificate_file: {certificate_file}: expected one valid now, it is from {valid}")
    if leaf.public_key().public_bytes(pem, subject_key) != key.public_key().public_bytes(pem, subject_key):
        raise ConfigError(
            f"sampling.private_key_file: {private_key_file}: expected the key of the first certificate in "
            f"{certificate_file}, got another"
        )
    algorithm = _algorithm(key, private_key_file)
    text = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return b"".join(certificate.public_bytes(pem) for certificate in chain), text, algorithm


def _loaded(field: str, path: str, what: str, load: Callable[[bytes], _Loaded]) -> _Loaded:
    try:
        data = Path(path).expanduser().read_bytes()
    except OSError as error:
        raise ConfigError(f"sampling.{field}: {path}: expected a file that can be read: {error.strerror}") from error
    try:
        return load(data)
    except (ValueError, TypeError) as error:  # TypeError: a key with a password
        raise ConfigError(f"sampling.{field}: {path}: expected {what}, got something else") from error


def _algorithm(key: "PrivateKeyTypes", path: str) -> str:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    match key:
        case ec.EllipticCurvePrivateKey() if key.curve.name in _CURVES:
            return _CURVES[key.curve.name]
        case rsa.RSAPrivateKey() if key.key_size >= _LEAST_RSA_BITS:
            return "ps256"
        case ed25519.Ed25519PrivateKey():
            return "ed25519"
    raise ConfigError(
        f"sampling.private_key_file: {path}: expected a key of P-256, P-384, P-521, Ed25519, or RSA of "
        f"{_LEAST_RSA_BITS} bits or more, got {type(key).__name__}"
    )
