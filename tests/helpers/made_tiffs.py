"""TIFFs with any tags, byte by byte (TIFF 6.0, section 2)."""

import struct

import numpy as np

_CODES = {1: "B", 3: "H", 4: "I", 5: "I"}


def write(path, pixels, *, tags=None, order="<", big=False, pages=1):
    """An uncompressed TIFF of one strip; ``tags`` replace or add: number to (type, values)."""
    height, width, bands = np.atleast_3d(pixels).shape
    wide = 16 if big else 4
    stated = {
        256: (4, [width]),
        257: (4, [height]),
        258: (3, [8 * pixels.itemsize] * bands),
        259: (3, [1]),
        262: (3, [2 if bands > 2 else 1]),
        273: (wide, [16]),
        277: (3, [bands]),
        278: (4, [height]),
        279: (4, [pixels.nbytes]),
        **(tags or {}),
    }
    data = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    blob = bytearray(b"II" if order == "<" else b"MM")
    blob += struct.pack(order + ("HHHQ" if big else "HI"), *((43, 8, 0, 0) if big else (42, 0)))
    blob += bytes(16 - len(blob)) + data
    link = 8 if big else 4
    for _ in range(pages):
        blob += bytes(len(blob) % 2)
        struct.pack_into(order + ("Q" if big else "I"), blob, link, len(blob))
        link = _directory(blob, stated, order, big)
    path.write_bytes(blob)
    return path


def _directory(blob, stated, order, big):
    """Appends a directory and its values; gives the place of the link to the next one."""
    inline, entry = (8, order + "HHQ8s") if big else (4, order + "HHI4s")
    start = len(blob)
    counter = order + ("Q" if big else "H")
    end = start + struct.calcsize(counter) + len(stated) * struct.calcsize(entry)
    head, tail = struct.pack(counter, len(stated)), b""
    for tag, (kind, values) in sorted(stated.items()):
        code = "Q" if kind == 16 else _CODES[kind]
        packed = struct.pack(f"{order}{len(values)}{code}", *values)
        if len(packed) > inline:
            place = end + inline + len(tail)
            tail += packed + bytes(len(packed) % 2)
            packed = struct.pack(order + ("Q" if big else "I"), place)
        count = len(values) // 2 if kind == 5 else len(values)
        head += struct.pack(entry, tag, kind, count, packed.ljust(inline, b"\0"))
    blob += head + bytes(inline) + tail
    return end
