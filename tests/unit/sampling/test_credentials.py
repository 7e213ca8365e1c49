"""C2PA manifests: signed offline by keys of every kind, read back by the library's own reader, undone by any change."""

import builtins
import io
import json
from concurrent.futures import ThreadPoolExecutor

import c2pa
import numpy as np
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given, settings
from hypothesis import strategies as st
from marked import KINDS, PEM, RECORD, exiftool, issued, marked, picture, start_of

from rayograph.errors import ConfigError, DataError
from rayograph.sampling.marking.c2pa import RECORD_LABEL, Signer, credentials_in
from rayograph.sampling.marking.record import DIGITAL_SOURCE_TYPE, record_in
from rayograph.shards.pixels.decode import render, to_png

__all__ = ["exiftool"]

KEYS = {
    "Es256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "Es384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "Ps256": lambda: rsa.generate_private_key(65537, 2048),
    "Ed25519": ed25519.Ed25519PrivateKey.generate,
}


@pytest.fixture(scope="module")
def signer(tmp_path_factory):
    return Signer(*issued(tmp_path_factory.mktemp("identity"), KEYS["Es256"]()))


@pytest.fixture(scope="module")
def signed_files(signer):
    return {kind: signer.sign(marked(kind), kind) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_a_signed_file_says_created_by_a_trained_model_and_its_record(signer, kind):
    with c2pa.Reader(f"image/{kind}", io.BytesIO(signer.sign(marked(kind), kind))) as reader:
        said = json.loads(reader.json())
    assert said["validation_state"] == "Valid"
    assert {status["code"] for status in said["validation_status"]} == {"signingCredential.untrusted"}
    manifest = said["manifests"][said["active_manifest"]]
    assert manifest["claim_generator_info"][0]["name"] == "rayograph"
    assertions = {assertion["label"]: assertion["data"] for assertion in manifest["assertions"]}
    assert assertions["c2pa.actions.v2"] == {
        "actions": [{"action": "c2pa.created", "digitalSourceType": DIGITAL_SOURCE_TYPE}]
    }
    assert json.loads(assertions[RECORD_LABEL]["record"]) == RECORD
    assert "thumbnail" not in manifest


@pytest.mark.parametrize("kind", KINDS)
def test_pixels_and_xmp_survive_signing_and_the_file_stays_one(signer, exiftool, kind):
    plain = marked(kind)
    signed = signer.sign(plain, kind)
    assert np.array_equal(render(signed, "a"), render(plain, "a"))
    assert record_in(signed, "a") == RECORD
    assert len(signed) < len(plain) + 10_000
    tags = exiftool.read(signed, "-validate", "-XMP-iptcExt:DigitalSourceType")
    assert tags["DigitalSourceType"] == DIGITAL_SOURCE_TYPE


@pytest.mark.parametrize("algorithm", KEYS)
def test_the_key_decides_the_algorithm(tmp_path, algorithm):
    signed = Signer(*issued(tmp_path, KEYS[algorithm]())).sign(marked("png"), "png")
    found = credentials_in(signed, "a")
    assert found.algorithm == algorithm
    assert (found.issuer, found.common_name) == ("Example Press", "signer")
    assert found.valid
    assert not found.trusted
    assert found.record == RECORD


@pytest.mark.parametrize("kind", KINDS)
def test_any_changed_byte_of_the_pixels_is_detected(signer, kind):
    signed = signer.sign(marked(kind), kind)
    first = start_of({"png": b"IDAT", "jpeg": b"DA", "webp": b"VP8 "}[kind], signed, kind)
    for at in (first + 30, first + 300):
        changed = bytearray(signed)
        changed[at] ^= 1
        found = credentials_in(bytes(changed), "a")
        assert not found.valid
        assert "assertion.dataHash.mismatch" in found.problems


def test_a_changed_record_is_detected(signer):
    signed = signer.sign(marked("jpeg"), "jpeg").replace(b'"number":17', b'"number":18')
    assert record_in(signed, "a")["number"] == 18
    found = credentials_in(signed, "a")
    assert not found.valid


def test_one_files_manifest_is_not_valid_in_another(signer):
    first = signer.sign(marked("jpeg"), "jpeg")
    other = marked("jpeg", RECORD, 255 - picture())
    # The quantisation tables, and all that follows.
    moved = first[: start_of(b"DB", first, "jpeg")] + other[start_of(b"DB", other, "jpeg") :]
    assert not np.array_equal(render(moved, "a"), render(first, "a"))
    assert not credentials_in(moved, "a").valid


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_without_a_manifest_has_none(kind):
    assert credentials_in(marked(kind), "a") is None


def test_a_manifest_that_cannot_be_read_is_refused_by_name(signer):
    signed = bytearray(signer.sign(marked("png"), "png"))
    at = start_of(b"caBX", signed, "png")
    signed[at + 24 : at + 404] = bytes(380)
    with pytest.raises(DataError, match="photo-7: expected a C2PA manifest that can be read: "):
        credentials_in(bytes(signed), "photo-7")


@settings(max_examples=200)
@given(
    kind=st.sampled_from(KINDS),
    damage=st.lists(st.tuples(st.integers(0, 3000), st.binary(min_size=1, max_size=3)), min_size=1, max_size=4),
)
def test_damaged_manifests_are_told_or_refused_by_name_and_never_say_another_record(signed_files, kind, damage):
    signed = bytearray(signed_files[kind])
    first = start_of({"png": b"caBX", "jpeg": b"EB", "webp": b"C2PA"}[kind], signed, kind)
    for at, new in damage:
        signed[first + at : first + at + len(new)] = new
    try:
        outcome = credentials_in(bytes(signed), "photo-7")
    except DataError as error:
        outcome = str(error)
    if isinstance(outcome, str):
        assert outcome.startswith("photo-7: ")
        assert "\n" not in outcome
    else:
        assert outcome is None or not outcome.valid or outcome.record == RECORD


def test_threads_share_a_signer(signer):
    records = [RECORD | {"number": number} for number in range(24)]

    def work(place):
        kind = KINDS[place % 3]
        return credentials_in(signer.sign(marked(kind, records[place]), kind), "a")

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(work, range(24)))
    assert all(state.valid for state in found)
    assert [state.record for state in found] == records


def test_an_image_without_a_record_is_not_signed(signer):
    with pytest.raises(DataError, match="a png to be signed: expected an image with rayograph's record"):
        signer.sign(to_png(picture()), "png")


def test_a_key_of_the_older_pem_form_signs_too(tmp_path):
    key = KEYS["Es256"]()
    certificate, path = issued(tmp_path, key)
    older = key.private_bytes(PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption())
    (tmp_path / "older.key").write_bytes(older)
    assert b"BEGIN EC PRIVATE KEY" in older
    assert credentials_in(Signer(certificate, str(tmp_path / "older.key")).sign(marked("png"), "png"), "a").valid
    assert path != str(tmp_path / "older.key")


# Refusals.


def refused(*files):
    with pytest.raises(ConfigError) as caught:
        Signer(*files)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_missing_files_are_told_by_field(tmp_path):
    certificate, key = issued(tmp_path, KEYS["Es256"]())
    missing = str(tmp_path / "missing.pem")
    said = "expected a file that can be read: No such file or directory"
    assert refused(missing, key) == f"sampling.certificate_file: {missing}: {said}"
    assert refused(certificate, missing) == f"sampling.private_key_file: {missing}: {said}"


def test_files_that_are_no_pem_or_swapped_are_told_by_field(tmp_path):
    certificate, key = issued(tmp_path, KEYS["Es256"]())
    other = tmp_path / "other.pem"
    for content in (b"", b"hello", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"):
        other.write_bytes(content)
        assert refused(str(other), key).startswith(f"sampling.certificate_file: {other}: expected PEM certificates")
    assert refused(key, key).startswith(f"sampling.certificate_file: {key}: expected PEM certificates")
    assert refused(certificate, certificate).startswith(f"sampling.private_key_file: {certificate}: expected a PEM")


def test_a_key_with_a_password_is_refused(tmp_path):
    certificate, path = issued(tmp_path, KEYS["Es256"]())
    with open(path, "rb") as file:
        key = serialization.load_pem_private_key(file.read(), None)
    locked = key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"x"))
    with open(path, "wb") as file:
        file.write(locked)
    assert "expected a PEM private key without a password" in refused(certificate, path)


def test_a_key_of_another_certificate_is_refused(tmp_path):
    certificate, _ = issued(tmp_path, KEYS["Es256"]())
    _, other = issued(tmp_path, KEYS["Es256"](), name="other")
    assert f"expected the key of the first certificate in {certificate}, got another" in refused(certificate, other)


@pytest.mark.parametrize(("start", "days"), [(-40, 30), (5, 30)])
def test_a_certificate_that_is_not_valid_now_is_refused_with_its_dates(tmp_path, start, days):
    said = refused(*issued(tmp_path, KEYS["Es256"](), start=start, days=days))
    assert "sampling.certificate_file" in said
    assert "expected one valid now, it is from 20" in said


@pytest.mark.parametrize(
    "key",
    [
        lambda: rsa.generate_private_key(65537, 1024),
        lambda: ec.generate_private_key(ec.SECP256K1()),
        ed448.Ed448PrivateKey.generate,
    ],
)
def test_keys_that_c2pa_does_not_know_are_refused(tmp_path, key):
    assert "sampling.private_key_file" in refused(*issued(tmp_path, key()))


def test_a_certificate_for_another_use_is_refused_at_once_not_at_the_first_image(tmp_path):
    said = refused(*issued(tmp_path, KEYS["Es256"](), usage=ExtendedKeyUsageOID.SERVER_AUTH))
    assert said.startswith("sampling.certificate_file: ")
    assert "expected a certificate that C2PA accepts" in said


@pytest.mark.parametrize("asked", [lambda: Signer("a", "b"), lambda: credentials_in(marked("png"), "a")])
def test_without_the_library_the_extra_is_named(monkeypatch, asked):
    imported = builtins.__import__

    def without(name, *rest):
        if name == "c2pa":
            raise ImportError("No module named 'c2pa'")
        return imported(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match=r"pip install 'rayograph\[credentials\]'"):
        asked()
