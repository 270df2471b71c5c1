"""Small made-up data sets in the layouts of the CIFAR files."""

import hashlib
import io
import json
import struct
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from longtail.data.sources.cifar import CIFAR10, CIFAR100, Cifar

PER_CLASS = {"train": 12, "test": 4}
NAMES = ("cat", "dog", "owl")


def made_up(part: str) -> tuple[np.ndarray, list[int]]:
    """Three classes, mixed; source images 0 and 2 are test image 0, source image 5 is test image 4."""
    draws = np.random.default_rng(["train", "test"].index(part))
    count = 3 * PER_CLASS[part]
    images = draws.integers(0, 256, (count, 32, 32, 3)).astype(np.uint8)
    label = draws.permutation(np.arange(count) % 3).tolist()
    if part == "train":
        test = made_up("test")[0]
        images[0] = images[2] = test[0]
        images[5] = test[4]
    return images, label


def python2_pickle(value: Any) -> bytes:
    """`value` as Python 2 and NumPy 1 pickled it for the original archives."""
    return b"\x80\x02" + _pickled(value) + b"."


def _pickled(value: Any) -> bytes:
    if isinstance(value, bytes):
        return b"T" + struct.pack("<i", len(value)) + value
    if isinstance(value, str):
        return _pickled(value.encode())
    if isinstance(value, int):
        return b"J" + struct.pack("<i", value)
    if isinstance(value, list):
        return b"](" + b"".join(map(_pickled, value)) + b"e"
    if isinstance(value, dict):
        return b"}(" + b"".join(_pickled(key) + _pickled(item) for key, item in value.items()) + b"u"
    assert isinstance(value, np.ndarray)
    empty = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
    dtype = b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    shape = b"(" + b"".join(map(_pickled, value.shape)) + b"t"
    return empty + b"(K\x01" + shape + dtype + b"\x89" + _pickled(value.tobytes()) + b"tb"


def write_original(folder: Path, original: Cifar) -> Cifar:
    """The folder and the archive beside it; returned with the checksums that these have."""
    home = folder / original.folder
    home.mkdir(parents=True)
    files: dict[str, dict[str, str]] = {}
    for part in PER_CLASS:
        images, label = made_up(part)
        names = list(original.files[part])
        files[part] = {}
        for name, rows in zip(names, np.array_split(np.arange(len(label)), len(names)), strict=True):
            facts = {
                "data": np.ascontiguousarray(images[rows].transpose(0, 3, 1, 2).reshape(len(rows), -1)),
                original.pickled_label: [label[row] for row in rows],
                "filenames": [f"{row}.png" for row in rows],
            }
            content = python2_pickle(facts)
            (home / name).write_bytes(content)
            files[part][name] = hashlib.md5(content).hexdigest()
    archive = folder / original.archive
    with tarfile.open(archive, "w:gz") as file:
        file.add(home, original.folder)
    return replace(original, files=files, md5=hashlib.md5(archive.read_bytes()).hexdigest())


def png(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def write_parquet(folder: Path, label_column: str, shards: int = 2) -> None:
    """The same images sorted by class, in parquet files as the public ones are."""
    folder.mkdir(parents=True, exist_ok=True)
    for part in PER_CLASS:
        images, label = made_up(part)
        order = np.argsort(label, kind="stable")[::-1]
        rows = [
            {"img": {"bytes": png(images[row]), "path": f"{row}.png"}, label_column: label[row]}
            for row in order.tolist()
        ]
        for shard, chosen in enumerate(np.array_split(np.arange(len(rows)), shards)):
            table = pa.Table.from_pylist([rows[row] for row in chosen])
            facts = {b"huggingface": json.dumps({"info": {}}).encode()}
            name = f"{part}-{shard:05d}-of-{shards:05d}.parquet"
            pq.write_table(table.replace_schema_metadata(facts), folder / name)


def small(original: Cifar) -> Cifar:
    """`original` with as many classes and images as are made up here."""
    return replace(original, class_names=NAMES, per_class=PER_CLASS)


SMALL10, SMALL100 = small(CIFAR10), small(CIFAR100)
