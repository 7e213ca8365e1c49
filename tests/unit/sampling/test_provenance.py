"""The XMP of an image: read back as it was written, by us and by others, whatever the prompt and whoever saved it."""

import io
import json
import struct
import zlib
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from marked import KINDS, RECORD, exiftool, marked, picture, pillow
from PIL import Image

from rayograph.errors import DataError
from rayograph.sampling.marking.record import (
    DIGITAL_SOURCE_TYPE,
    LONGEST_PACKET,
    NAMESPACE,
    SHORTENED,
    record_in,
    record_text,
    xmp_packet,
)
from rayograph.sampling.marking.xmp import LONGEST_IN_JPEG, into_jpeg, into_png
from rayograph.shards.pixels.decode import to_jpeg, to_png

__all__ = ["exiftool"]

SAVED = {"png": "PNG", "jpeg": "JPEG", "webp": "WEBP"}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(0, 2**64 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
ODD = st.text(st.characters(codec=None), max_size=60) | st.sampled_from(
    [
        "]]>",
        "<!--",
        "&lt;&#0;",
        "\x00\x08\x0b\x1f\x7f\x85\ufffe\uffff",
        "\ud800",
        "\r\n\t  two  spaces ",
        "\"'",
        "{",
        "\\u0000",
    ]
)


def framed(kind, packet):
    """An image whose XMP is any bytes."""
    if kind == "png":
        return into_png(to_png(picture()), packet)
    if kind == "jpeg":
        return into_jpeg(to_jpeg(picture(), 90), packet)
    buffer = io.BytesIO()
    Image.fromarray(picture()).save(buffer, "WEBP", xmp=packet)
    return buffer.getvalue()


def bare(kind):
    buffer = io.BytesIO()
    Image.fromarray(picture()).save(buffer, SAVED[kind])
    return buffer.getvalue()


@pytest.mark.parametrize("kind", KINDS)
def test_a_record_comes_back_out_of_every_kind_of_file(kind):
    assert record_in(marked(kind), "a") == RECORD


@settings(max_examples=150)
@given(prompt=ODD, more=st.dictionaries(st.text(max_size=8), JSON, max_size=3), kind=st.sampled_from(KINDS))
def test_any_prompt_and_any_json_survive(prompt, more, kind):
    record = {**RECORD, **more, "prompt": prompt}
    data = framed(kind, xmp_packet(record))
    assert record_in(data, "a") == record


@given(prompt=ODD)
def test_a_packet_is_wellformed_ascii_but_for_its_byte_order_mark_and_the_same_for_the_same_record(prompt):
    record = {"number": 3, "prompt": prompt}
    packet = xmp_packet(record)
    assert packet == xmp_packet(dict(reversed(record.items())))
    assert packet.replace(b"\xef\xbb\xbf", b"").isascii()
    ElementTree.fromstring(packet)


def test_a_packet_says_that_a_trained_model_made_it_and_no_version():
    root = ElementTree.fromstring(xmp_packet(RECORD))
    said = {element.tag: element.text for element in root.iter() if element.text and element.text.strip()}
    assert said == {
        "{http://ns.adobe.com/xap/1.0/}CreatorTool": "rayograph",
        "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType": DIGITAL_SOURCE_TYPE,
        f"{{{NAMESPACE}}}Record": record_text(RECORD),
    }
    assert DIGITAL_SOURCE_TYPE == "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"


@pytest.mark.parametrize("character", ["x", "\u6f22", "\U0001f58c", "<", "\x00"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_long_prompt_is_cut_so_that_a_jpeg_holds_it_and_the_record_says_so(kind, character):
    record = RECORD | {"prompt": character * 200_000}
    assert len(xmp_packet(record)) <= LONGEST_PACKET < LONGEST_IN_JPEG
    found = record_in(marked(kind, record), "a")
    assert found.pop(SHORTENED) == ["prompt"]
    prompt = found.pop("prompt")
    assert len(prompt) in (8192, 4096)
    assert record["prompt"].startswith(prompt)
    assert found == {key: value for key, value in record.items() if key != "prompt"}


def test_ten_thousand_characters_of_prompt_stay_whole():
    record = RECORD | {"prompt": "x" * 10_000}
    assert record_in(marked("jpeg", record), "a") == record


def test_long_values_that_are_no_texts_are_left_out_by_name():
    record = RECORD | {"words": ["long"] * 20_000, "note": "n" * 50_000, "short": [1, 2]}
    found = record_in(marked("jpeg", record), "a")
    assert found[SHORTENED] == ["note", "words"]
    assert found["short"] == [1, 2]
    assert "words" not in found


def test_of_thousands_of_columns_only_what_every_record_has_stays():
    record = RECORD | {f"column {number}": "value" for number in range(5000)}
    packet = xmp_packet(record)
    assert len(packet) <= LONGEST_PACKET
    found = record_in(framed("png", packet), "a")
    assert found == {key: value for key, value in RECORD.items() if key != "prompt"} | {SHORTENED: ["…"]}


def test_what_an_image_is_found_and_drawn_again_by_is_never_cut():
    exact = {"artifact": "a" * 300, "data": ["ef" * 32] * 100}
    many = {f"column {number}": "value" * 50 for number in range(400)}
    found = record_in(marked("jpeg", RECORD | exact | many), "a")
    assert found["column 7"] == many["column 7"][:64]
    assert {key: found[key] for key in exact} == exact


def test_a_model_of_thousands_of_data_sets_is_no_failure():
    found = record_in(marked("jpeg", RECORD | {"data": ["ef" * 32] * 5000}), "a")
    assert found == {key: value for key, value in RECORD.items() if key not in ("prompt", "data")} | {SHORTENED: ["…"]}


# Other programs.


@pytest.mark.parametrize("kind", KINDS)
def test_exiftool_reads_the_source_type_the_tool_and_the_record(exiftool, kind):
    data = marked(kind)
    assert exiftool.read(data, "-XMP-iptcExt:DigitalSourceType")["DigitalSourceType"] == DIGITAL_SOURCE_TYPE
    tags = exiftool.read(data, "-validate", "-warning", "-a", "-XMP:all")
    assert tags["CreatorTool"] == "rayograph"
    assert json.loads(tags["Record"]) == RECORD
    assert tags["Validate"] == "OK"


@pytest.mark.parametrize("kind", KINDS)
def test_a_record_survives_exiftools_rewriting_of_the_xmp(exiftool, kind):
    again = exiftool.write(marked(kind), "-XMP-dc:Title=A <title> & more", "-XMP-dc:Creator=Man Ray")
    assert again != marked(kind)
    assert record_in(again, "a") == RECORD
    assert exiftool.read(again, "-XMP-iptcExt:DigitalSourceType")["DigitalSourceType"] == DIGITAL_SOURCE_TYPE


@pytest.mark.parametrize("options", [("-api", "Compact=Shorthand"), ("-api", "Compress=1"), ("-api", "PNGEarlyXMP=0")])
def test_a_record_survives_the_other_ways_in_which_exiftool_writes(exiftool, options):
    again = exiftool.write(marked("png"), *options, "-XMP-dc:Title=x")
    assert record_in(again, "a") == RECORD


@pytest.mark.parametrize("kind", KINDS)
def test_the_longest_packet_leaves_exiftool_room_for_its_own(exiftool, kind):
    record = RECORD | {"prompt": "x" * 50_000}
    again = exiftool.write(marked(kind, record), f"-XMP-dc:Title={'t' * 2000}")
    assert record_in(again, "a") == record_in(marked(kind, record), "a")


@pytest.mark.parametrize("target", KINDS)
@pytest.mark.parametrize("source", KINDS)
def test_a_record_survives_saving_by_pillow_from_any_kind_to_any_other(source, target):
    image = pillow(marked(source))
    packet = image.info.get("xmp") or image.info["XML:com.adobe.xmp"].encode()
    buffer = io.BytesIO()
    options = {"pnginfo": pnginfo(packet)} if target == "png" else {"xmp": packet}
    image.save(buffer, SAVED[target], **options)
    assert record_in(buffer.getvalue(), "a") == RECORD


def pnginfo(packet):
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_itxt("XML:com.adobe.xmp", packet.decode(), zip=True)
    return info


def test_xmp_padded_in_place_is_read():
    assert record_in(framed("jpeg", xmp_packet(RECORD) + b" \n" * 1000 + b"\0"), "a") == RECORD


def test_a_record_in_xmps_short_form_is_read():
    packet = (
        f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<r:Description xmlns:mine="{NAMESPACE}" mine:Record="{{&quot;number&quot;:5}}"/></r:RDF></x:xmpmeta>'
    )
    assert record_in(framed("png", packet.encode()), "a") == {"number": 5}


def test_of_several_packets_the_one_with_a_record_counts():
    foreign = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>'
    assert record_in(into_png(marked("png"), foreign), "a") == RECORD


def test_what_stands_behind_a_webp_is_no_part_of_it():
    assert record_in(marked("webp") + b"more, of whatever kind", "a") == RECORD
    with pytest.raises(DataError, match="found no XMP"):
        record_in(bare("webp") + b"XMP \x10", "a")


# Refusals.


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_without_xmp_and_one_with_other_xmp_are_told_apart(kind):
    with pytest.raises(DataError, match="photo-7: expected an image with rayograph's record in its XMP, found no XMP"):
        record_in(bare(kind), "photo-7")
    with pytest.raises(DataError, match=r"photo-7: .* found XMP without one"):
        record_in(framed(kind, b'<x:xmpmeta xmlns:x="adobe:ns:meta/"/>'), "photo-7")


@pytest.mark.parametrize("data", [b"", b"hello", b"GIF89a", b"RIFF\0\0\0\0WAVE", b"<svg/>", b"\xff"])
def test_what_is_no_image_is_refused_by_name(data):
    with pytest.raises(DataError, match=r"photo-7: expected a PNG, JPEG or WebP image, got \d+ bytes"):
        record_in(data, "photo-7")


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_breaks_off_before_its_record_is_damaged(kind):
    data = bare(kind)
    for length in (14, 30, 40) if kind != "jpeg" else (3, 5, 40, 100):
        with pytest.raises(DataError, match=r"photo-7: damaged: "):
            record_in(data[:length], "photo-7")


def test_a_changed_character_in_a_pngs_xmp_is_noticed():
    data = marked("png").replace(b'"seed":1', b'"seed":2')
    with pytest.raises(DataError, match="photo-7: damaged: the chunk of XMP at byte 41 does not match its checksum"):
        record_in(data, "photo-7")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("packet", "said"),
    [
        (b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><x>&b;</x>', "XMP without a DOCTYPE"),
        (b'<!DOCTYPE x SYSTEM "file:///etc/passwd"><x/>', "XMP without a DOCTYPE"),
        (b"<x>", "XMP that is XML"),
        (b"", "XMP that is XML"),
        (b'<?xml version="1.0" encoding="klingon"?><x/>', "XMP that is XML"),
        (b"<x>&unknown;</x>", "XMP that is XML"),
        (f'<x xmlns:m="{NAMESPACE}"><m:Record>not json</m:Record></x>'.encode(), "record to be JSON"),
        (f'<x xmlns:m="{NAMESPACE}"><m:Record>[1]</m:Record></x>'.encode(), "a JSON object, got list"),
        (f'<x xmlns:m="{NAMESPACE}"><m:Record>{"[" * 9000}</m:Record></x>'.encode(), "record to be JSON"),
    ],
)
def test_xmp_that_is_none_or_wants_entities_is_refused_by_name(kind, packet, said):
    with pytest.raises(DataError, match=f"photo-7: expected .*{said}"):
        record_in(framed(kind, packet or b" "), "photo-7")


def test_compressed_xmp_that_is_a_bomb_or_damaged_is_refused():
    def compressed(body):
        text = b"iTXtXML:com.adobe.xmp\0\1\0\0\0" + body
        chunk = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))
        return to_png(picture())[:33] + chunk + to_png(picture())[33:]

    assert record_in(compressed(zlib.compress(xmp_packet(RECORD))), "a") == RECORD
    with pytest.raises(DataError, match="photo-7: expected XMP of at most 16777216 bytes"):
        record_in(compressed(zlib.compress(b" " * 2**25)), "photo-7")
    with pytest.raises(DataError, match="photo-7: damaged: the compressed XMP"):
        record_in(compressed(b"nonsense"), "photo-7")


SEEDS = [marked(kind) for kind in KINDS]


@settings(max_examples=300)
@given(
    seed=st.sampled_from(SEEDS),
    damage=st.lists(st.tuples(st.integers(0, 2500), st.binary(max_size=4)), min_size=1, max_size=4),
    cut=st.integers(0, 4000),
)
def test_damaged_files_give_a_record_or_a_refusal_by_name_and_nothing_else(seed, damage, cut):
    data = bytearray(seed)
    for at, new in damage:
        data[at : at + len(new)] = new
    try:
        outcome = record_in(bytes(data[: cut or None]), "photo-7")
    except DataError as error:
        outcome = str(error)
        assert outcome.startswith("photo-7: ")
        assert "\n" not in outcome
    else:
        assert isinstance(outcome, dict)
