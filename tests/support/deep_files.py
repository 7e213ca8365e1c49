"""PNGs and TIFFs of sixteen bits a channel, which Pillow does not write."""

import struct
import zlib


def png(values, profile=None):
    """16 bits a channel: grey, grey and alpha, RGB, RGBA."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width, channels = values.shape
    header = struct.pack(">IIBBBBB", width, height, 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    colours = chunk(b"iCCP", b"given\0\0" + zlib.compress(profile)) if profile else b""
    parts = (chunk(b"IHDR", header), colours, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def tiff(values, photometric, extra=None, order="<", planes=False, profile=None):
    """16 bits a channel, as they are: one strip, or one each colour; `extra` says what the last channel is."""
    height, width, channels = values.shape
    pixels = values.astype(f"{order}u2")
    pixels = pixels.transpose(2, 0, 1) if planes else pixels
    strips = channels if planes else 1
    size = pixels.nbytes // strips
    short, long, undefined = 3, 4, 7
    letters = {short: "H", long: "I", undefined: "B"}
    tags = {256: (short, [width]), 257: (short, [height]), 258: (short, [16] * channels), 259: (short, [1])}
    tags |= {262: (short, [photometric]), 273: (long, [8 + size * n for n in range(strips)]), 277: (short, [channels])}
    tags |= {278: (short, [height]), 279: (long, [size] * strips), 284: (short, [2 if planes else 1])}
    tags |= {338: (short, [extra])} if extra is not None else {}
    tags |= {34675: (undefined, list(profile))} if profile else {}
    end = 8 + pixels.nbytes
    table, body = struct.pack(f"{order}H", len(tags)), b""
    behind = end + 2 + 12 * len(tags) + 4
    for tag, (kind, given) in sorted(tags.items()):
        data = struct.pack(f"{order}{len(given)}{letters[kind]}", *given)
        if len(data) > 4:
            where, body = behind + len(body), body + data + bytes(len(data) % 2)
            data = struct.pack(f"{order}I", where)
        table += struct.pack(f"{order}HHI", tag, kind, len(given)) + data.ljust(4, b"\0")
    start = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", end)
    return start + pixels.tobytes() + table + bytes(4) + body
