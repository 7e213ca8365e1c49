"""What an image says of itself, as XMP: that a trained model made it (IPTC), and the record of what drew it.

The record is JSON within an element of our own. It is written in ASCII with every character that XML minds escaped the
JSON way, so any prompt survives, control characters too, and any program that rewrites XMP leaves it as it is.
"""

import json
from typing import Any
from xml.etree import ElementTree

from rayograph.errors import DataError
from rayograph.json_types import Json, JsonObject
from rayograph.sampling.marking.xmp import packets_in

DIGITAL_SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
NAMESPACE = "urn:uuid:8d0f5c4e-5f0b-4f0e-9a55-0d1b6ad0c3a7#"
"""Of the property `Record`."""

LONGEST_PACKET = 60_000
"""Bytes. One segment of a JPEG holds 65,502: the rest is left to programs that add XMP of theirs."""

SHORTENED = "shortened"
"""The record's key that names the values cut or left out for want of room."""

_ALWAYS = (
    *("number", "seed", "counter", "class", "width", "height", "scheduler", "num_inference_steps", "guidance_scale"),
    *("spacing", "eta"),
    *("artifact", "model", "request", "data"),
)
"""Never cut: with these the image is found, and drawn again."""

_PACKET = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
    xmlns:xmp="http://ns.adobe.com/xap/1.0/"
    xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
    xmlns:rayograph="{namespace}">
   <xmp:CreatorTool>rayograph</xmp:CreatorTool>
   <Iptc4xmpExt:DigitalSourceType>{source_type}</Iptc4xmpExt:DigitalSourceType>
   <rayograph:Record>{record}</rayograph:Record>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>"""


def record_text(record: JsonObject) -> str:
    """The record as JSON of printable ASCII without `<`, `>` and `&`; the same text for the same record."""
    text = json.dumps(record, sort_keys=True, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def xmp_packet(record: JsonObject) -> bytes:
    """The XMP of a record: the same bytes for the same record, whichever version writes it.

    A packet is at most `LONGEST_PACKET` bytes, or a JPEG could not hold it. Where the record is longer, its prompt and
    other long texts are cut, at 8,192 characters or a half, a quarter, … of that, and whatever else of the request's
    columns is long is left out; the key "shortened" names both. Of thousands of columns none stays, and the key is
    ["…"]. The record beside the image in its shard is always whole.
    """
    return _PACKET.format(namespace=NAMESPACE, source_type=DIGITAL_SOURCE_TYPE, record=_fitting(record)).encode()


def record_in(data: bytes, name: str) -> dict[str, Any]:
    """The record within a PNG, JPEG or WebP file, as `xmp_packet` was given it, whatever else rewrote the XMP.

    Raises DataError naming the file: for no image, a damaged one, and one that holds no record of ours.
    """
    seen = False
    for packet in packets_in(data, name):
        seen = True
        text = _text_in(packet, name)
        if text is None:
            continue
        try:
            record = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{name}: expected the XMP's record to be JSON: {error}") from error
        if not isinstance(record, dict):
            raise DataError(f"{name}: expected the XMP's record to be a JSON object, got {type(record).__name__}")
        return record
    found = "XMP without one" if seen else "no XMP"
    raise DataError(f"{name}: expected an image with rayograph's record in its XMP, found {found}")


def _fitting(record: JsonObject) -> str:
    room = LONGEST_PACKET - len(_PACKET.encode()) - len(NAMESPACE) - len(DIGITAL_SOURCE_TYPE)
    text, length = record_text(record), 8192
    while len(text) > room and length >= 64:
        text, length = record_text(_cut(record, length)), length // 2
    if len(text) > room:  # thousands of columns, or of data sets
        few = {key: record[key] for key in _ALWAYS if key in record and len(record_text({key: record[key]})) < room / 4}
        text = record_text(few | {SHORTENED: ["…"]})
    return text


def _cut(record: JsonObject, length: int) -> JsonObject:
    """Texts of at most `length` characters; other values whose JSON is longer are left out."""
    cut: dict[str, Json] = {}
    for key, value in record.items():
        if key not in _ALWAYS and isinstance(value, str):
            cut[key] = value[:length]
        elif key in _ALWAYS or len(record_text({key: value})) <= length:
            cut[key] = value
    return cut | {SHORTENED: sorted(key for key in record if key not in cut or cut[key] != record[key])}


def _text_in(packet: bytes, name: str) -> str | None:
    """The record's JSON out of an XMP packet; None where it holds none."""
    parser = ElementTree.XMLParser(target=_WithoutDoctype(name))
    try:
        parser.feed(packet.strip(b"\0 \t\r\n"))
        root = parser.close()
    except (ElementTree.ParseError, ValueError, LookupError) as error:  # the latter of unknown encodings
        raise DataError(f"{name}: expected XMP that is XML: {error}") from error
    tag = f"{{{NAMESPACE}}}Record"
    for element in root.iter():
        if element.tag == tag:
            return "".join(element.itertext())
        if tag in element.attrib:  # XMP's short form, which other programs may write
            return element.attrib[tag]
    return None


class _WithoutDoctype(ElementTree.TreeBuilder):
    """XMP has no document type; one is there to expand entities or to fetch them."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    def doctype(self, *_: str | None) -> None:
        raise DataError(f"{self._name}: expected XMP without a DOCTYPE")
