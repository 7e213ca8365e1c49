"""What a file is by its first bytes, where it is no image that can be read: for the reason that a person reads."""

_BRANDS = {
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"), "HEIC"),
    b"crx ": "a camera's raw file (CR3)",
    b"avif": "AVIF",
    b"avis": "AVIF",
}
_STARTS = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"GIF8": "GIF",
    b"BM": "BMP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
    b"\xff\x0a": "JPEG XL",
    b"\0\0\0\x0cJXL ": "JPEG XL",
    b"\0\0\0\x0cjP  ": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"8BPS": "PSD (Photoshop)",
    b"%PDF": "PDF",
    b"%!PS": "PostScript (EPS)",
    b"\xc5\xd0\xd3\xc6": "PostScript (EPS)",
    b"\0\0\x01\0": "ICO (an icon)",
    b"\0\0\x02\0": "CUR (a pointer)",
    b"v/1\x01": "OpenEXR",
    b"#?RADIANCE": "Radiance HDR",
    b"DDS ": "DDS",
    b"qoif": "QOI",
    b"gimp xcf": "XCF (GIMP)",
    **dict.fromkeys((b"P1\n", b"P2\n", b"P3\n", b"P4\n", b"P5\n", b"P6\n"), "PNM"),
    b"\x1f\x8b": "a gzip archive",
    b"PK\x03\x04": "a zip archive",
    b"Rar!": "a RAR archive",
    b"\x1aE\xdf\xa3": "Matroska or WebM video",
    b"version https://git-lfs": "a Git LFS pointer, not the file itself",
}
_MARKUP = {b"<svg": "SVG", b"<!doctype html": "HTML", b"<html": "HTML", b"{": "JSON", b"[": "JSON", b"<?xml": "XML"}
_READ = {"JPEG", "PNG", "GIF", "BMP", "TIFF", "AVIF", "WebP"}


def kind_of(data: bytes) -> str | None:
    """The name of a file's kind; None for one that is not known."""
    if data[4:8] == b"ftyp":
        brands = [data[8:12], *(data[at : at + 4] for at in range(16, min(len(data), 64), 4))]
        if b"avif" in brands or b"avis" in brands:
            return "AVIF"
        return _BRANDS.get(data[8:12], "MP4 video")
    if data[:4] == b"RIFF":
        return "WebP" if data[8:12] == b"WEBP" else "RIFF (sound or video)"
    for start, kind in _STARTS.items():
        if data.startswith(start):
            return kind
    text = data[:4096].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith((b"<?xml", b"<!--", b"<!doctype svg")) and b"<svg" in text:
        return "SVG"
    for start, kind in _MARKUP.items():
        if text.startswith(start):
            return kind
    if data and not data.strip(b"\0"):
        return "nothing but zero bytes"
    return None


def described(data: bytes) -> str:
    """What came, for a message: `0 bytes: empty file`, `HEIC, which is not read`, or how many bytes."""
    if not data:
        return "0 bytes: empty file"
    kind = kind_of(data)
    if kind is None or kind in _READ:
        return f"{len(data)} bytes that do not decode"
    return f"{kind}, which is not read"
