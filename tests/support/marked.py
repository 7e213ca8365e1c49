"""What tests of marked images share: a record, a picture, certificates, and what exiftool reads."""

import datetime as dt
import io
import json
import subprocess

import needs
import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from PIL import Image

from rayograph.config import ImageFile
from rayograph.sampling.marking.image_encoder import encode
from rayograph.sampling.marking.record import xmp_packet

KINDS = ("png", "jpeg", "webp")
PEM = serialization.Encoding.PEM
RECORD = {
    "number": 17,
    "seed": 2**64 - 1,
    "counter": 17,
    "class": 3,
    "prompt": 'a lamp, oil on canvas ]]> <b> & "quotes" \u00fc \u6f22 \U0001f58c \u202e\n\x00\x1f',
    "width": 32,
    "height": 32,
    "scheduler": "dpmsolver++",
    "num_inference_steps": 15,
    "guidance_scale": 1.4,
    "artifact": "digits/sample/0123456789abcdef",
    "model": "ab" * 32,
    "request": "cd" * 32,
    "data": ["ef" * 32, "01" * 32],
}


def picture(height=48, width=64):
    """Smooth colours with some noise: neither flat nor incompressible."""
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(40, 216, (6, 8, 3), np.uint8)).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    return np.clip(np.asarray(coarse).astype(int) + rng.integers(-4, 5, (height, width, 3)), 0, 255).astype(np.uint8)


def marked(kind, record=RECORD, pixels=None):
    return encode(picture() if pixels is None else pixels, ImageFile(kind=kind), xmp_packet(record))


def start_of(name, data, kind):
    """Where a file's first part of that name begins, by its container's own lengths, which random bytes do not mislead.

    PNG's chunks, JPEG's markers ("DA" begins the scan), RIFF's chunks. ValueError where there is none.
    """
    at = {"png": 8, "jpeg": 2, "webp": 12}[kind]
    while at < len(data):
        match kind:
            case "png":  # length, name, content, checksum
                found, size = data[at + 4 : at + 8], 12 + int.from_bytes(data[at : at + 4])
            case "jpeg":  # FF, name, length with itself, content; after the scan's head come its codes
                found, size = data[at + 1 : at + 2].hex().upper().encode(), 2 + int.from_bytes(data[at + 2 : at + 4])
            case "webp":  # name, length, content, to the next even place
                length = int.from_bytes(data[at + 4 : at + 8], "little")
                found, size = data[at : at + 4], 8 + length + length % 2
        if found == name:
            return at
        at += size
    raise ValueError(f"no {name!r} in this {kind}")


def pillow(data):
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


@pytest.fixture
def exiftool(tmp_path):
    """Runs it on an image's bytes: `read` gives the tags, `write` the bytes that come of its options."""
    needs.need("exiftool")

    class Tool:
        def read(self, data, *tags):
            path = tmp_path / "read.image"
            path.write_bytes(data)
            done = subprocess.run(["exiftool", "-j", *tags, path], capture_output=True, check=True, timeout=600)
            return json.loads(done.stdout)[0]

        def write(self, data, *options):
            source, target = tmp_path / "source.image", tmp_path / "target.image"
            source.write_bytes(data)
            target.unlink(missing_ok=True)
            command = ["exiftool", "-q", *options, "-o", target, source]
            subprocess.run(command, capture_output=True, check=True, timeout=600)
            return target.read_bytes()

    return Tool()


def named(common_name):
    names = ((NameOID.ORGANIZATION_NAME, "Example Press"), (NameOID.COMMON_NAME, common_name))
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in names])


def issued(folder, key, usage=ExtendedKeyUsageOID.EMAIL_PROTECTION, start=-1, days=30, name="signer"):
    """(certificate file, key file) of `key`, by an authority of its own, valid from `start` days from now."""
    authority = ec.generate_private_key(ec.SECP256R1())
    begin = dt.datetime.now(dt.UTC) + dt.timedelta(days=start)

    def certificate(subject, public, is_authority):
        signs = dict.fromkeys(
            ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only"), False
        )
        return (
            x509.CertificateBuilder()
            .subject_name(named(subject))
            .issuer_name(named("authority"))
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(begin + dt.timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .add_extension(
                x509.KeyUsage(
                    digital_signature=not is_authority,
                    key_cert_sign=is_authority,
                    crl_sign=is_authority,
                    decipher_only=False,
                    **signs,
                ),
                critical=True,
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key()), critical=False)
        )

    leaf = certificate("signer", key.public_key(), False)
    leaf = leaf.add_extension(x509.ExtendedKeyUsage([usage]), critical=True).sign(authority, hashes.SHA256())
    root = certificate("authority", authority.public_key(), True).sign(authority, hashes.SHA256())
    files = folder / f"{name}.pem", folder / f"{name}.key"
    files[0].write_bytes(leaf.public_bytes(PEM) + root.public_bytes(PEM))
    files[1].write_bytes(key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return str(files[0]), str(files[1])
