"""Damages: what can be done to the files of a folder in which the stages ran."""

import json
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import load_file, save_file

Damage = Callable[[Path], object]
"""Of a folder in which the stages ran."""

IMAGES, PHOTO = "data/digits-lt/images.npy", "photos/common/000.png"


def halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def link_to_itself(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


ANY_FILE: dict[str, Damage] = {
    "gone": Path.unlink,
    "empty": lambda path: path.write_bytes(b""),
    "truncated": halve,
    "bytes": lambda path: path.write_bytes(bytes(range(256)) * 9),
    "a folder": make_folder,
    "a link to itself": link_to_itself,
    "a list": lambda path: path.write_text("[]"),
    "null": lambda path: path.write_text("null"),
    "a number": lambda path: path.write_text("7"),
    "deep": lambda path: path.write_text("[" * 20_000),
    "a huge integer": lambda path: path.write_text('{"cell": ' + "9" * 6000 + "}"),
}
"""What can be wrong with any file."""


def into(file: str, damage: Damage) -> Damage:
    """`damage` of one file."""
    return lambda folder: damage(folder / file)


def text(content: str, file: str = "params.yaml") -> Damage:
    """Another content of a file."""
    return lambda folder: (folder / file).write_text(content)


def more(content: str) -> Damage:
    """Lines that `params.yaml` has besides."""
    return lambda folder: (folder / "params.yaml").write_text((folder / "params.yaml").read_text() + content)


def keys(file: str, **changed: Any) -> Damage:
    """Other values in a JSON file; those of a dictionary are put into the one that is there."""

    def damage(folder: Path) -> None:
        found = json.loads((folder / file).read_text())
        for name, value in changed.items():
            found[name] = {**found[name], **value} if isinstance(value, dict) and value else value
        (folder / file).write_text(json.dumps(found))

    return damage


def column(file: str, name: str, value: Any) -> Damage:
    """A table with `value` in every row of a column."""

    def damage(folder: Path) -> None:
        table = pq.read_table(folder / file)
        place = table.column_names.index(name)
        values = pa.array([value] * len(table), table.schema.field(name).type)
        pq.write_table(table.set_column(place, name, values), folder / file)

    return damage


def rows(file: str, count: int) -> Damage:
    """A table of zeros that says it has `count` rows, in a file of kilobytes."""

    def damage(folder: Path) -> None:
        table = pa.table({"image": pa.array(np.zeros(count, np.int64))})
        pq.write_table(table.replace_schema_metadata(pq.read_schema(folder / file).metadata), folder / file)

    return damage


def weights(file: str, value: float) -> Damage:
    """One tensor of `value` among the weights."""

    def damage(folder: Path) -> None:
        state = load_file(folder / file)
        name = next(name for name, tensor in state.items() if tensor.dtype == np.float32)
        save_file({**state, name: np.full_like(state[name], value)}, folder / file)

    return damage


def array(change: Callable[[np.ndarray], np.ndarray]) -> Damage:
    """Other decoded images."""
    return lambda folder: np.save(folder / IMAGES, change(np.load(folder / IMAGES)))


def boundless_array(folder: Path) -> None:
    """An array of 640 TB by what its header says."""
    header = {"descr": "|u1", "fortran_order": False, "shape": (10**13, 8, 8, 1)}
    with (folder / IMAGES).open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """A piece of a PNG file."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


BOMB = b"\x89PNG\r\n\x1a\n" + b"".join(
    (
        png_chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)),
        png_chunk(b"IDAT", zlib.compress(bytes(1000))),
        png_chunk(b"IEND", b""),
    )
)
"""A PNG file of a hundred bytes that says it is 60,000 pixels wide and high."""


def bomb(folder: Path) -> None:
    """`BOMB` in the place of a photograph."""
    (folder / PHOTO).write_bytes(BOMB)


def leading_out(folder: Path) -> None:
    """A symbolic link in a class folder to an image elsewhere."""
    shutil.copyfile(folder / PHOTO, folder / "secret.png")
    (folder / "photos/common/link.png").symlink_to(folder / "secret.png")


def image_list(content: str) -> Damage:
    """The photographs by a list in place of the folder."""

    def damage(folder: Path) -> None:
        (folder / "photos/list.csv").write_text(content)
        params = folder / "params.yaml"
        params.write_text(params.read_text().replace("own: photos", "own: photos/list.csv"))

    return damage


def copied(source: str, target: str) -> Damage:
    """A sound file in the place of another."""
    return lambda folder: shutil.copyfile(folder / source, folder / target)


def made(file: str, content: bytes) -> Damage:
    """A file that was not there."""

    def damage(folder: Path) -> None:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(content)

    return damage


def nothing(folder: Path) -> None:
    """The files are sound: it is the words that are wrong."""
