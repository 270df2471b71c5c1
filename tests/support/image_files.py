"""Image files of every kind, sound and spoilt."""

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image


def png(header: bytes, data: bytes) -> bytes:
    """A PNG of this IHDR and this IDAT before compression."""
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(data)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def huge_png() -> bytes:
    """A PNG whose header promises 60000 x 60000 pixels."""
    return png(struct.pack(">IIBBBBB", 60000, 60000, 8, 0, 0, 0, 0), b"")


def deep_png(pixels: np.ndarray) -> bytes:
    """A PNG of 16 bits a channel, [H, W, 2 (grey and alpha), 3 or 4]; PIL itself writes none."""
    height, width, channels = pixels.shape
    kind = {2: 4, 3: 2, 4: 6}[channels]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    return png(struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0), rows)


def spoilt_images(folder: Path) -> dict[Path, str]:
    """Images that cannot be read, with what is said of them."""
    draws = np.random.default_rng(0)
    Image.fromarray(draws.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(folder / "a.png")
    whole = (folder / "a.png").read_bytes()
    Image.new("L", (9, 9)).save(folder / "b.ppm")
    contents = {
        "a.png": (whole[: len(whole) // 2], "damaged, or not readable"),
        "b.ppm": ((folder / "b.ppm").read_bytes(), "not an image in PNG, JPEG, BMP, WEBP, TIFF, GIF"),
        "c.jpg": (b"no image", "not an image in"),
        "d.png": (b"", "not an image in"),
        "e.png": (huge_png(), "more than 80,000,000 pixels"),
        "f\n.png": (b"", "f\\n.png': not an image in"),
    }
    for name, (content, _) in contents.items():
        (folder / name).write_bytes(content)
    return {folder / name: expected for name, (_, expected) in contents.items()} | {
        folder / "missing.png": "missing.png: no such file"
    }
