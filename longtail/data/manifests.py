"""Manifests: which images of the pool a training set or a meta set holds."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from longtail.data.pools import (
    Pool,
    check_fingerprint,
    check_labels,
    content_fingerprint,
    read_columns,
    write_columns,
)
from longtail.data.selection import in_order, remaining, select
from longtail.errors import InputError
from longtail.parquet_files import schema_of

SCHEMA = schema_of(image=pa.int64(), label=pa.int64(), hash=pa.string())

Kind = Literal["train", "meta"]


@dataclass(frozen=True, eq=False)
class Manifest:
    """One row per image, in the order of the pool; see `Pool` for the columns.

    `imbalance` is that of the training set, for the meta set that goes with it too; `pool` is the
    fingerprint of the pool that the images are in.
    """

    kind: Kind
    benchmark: str
    imbalance: float
    data_seed: int
    class_names: tuple[str, ...]
    pool: str
    image: NDArray[np.int64]
    label: NDArray[np.int64]
    hash: NDArray[np.str_]

    @cached_property
    def counts(self) -> list[int]:
        """Images of each class, [C]."""
        return np.bincount(self.label, minlength=len(self.class_names)).tolist()

    @cached_property
    def fingerprint(self) -> str:
        """Hex sha256 of all but `image`: the same images in another file order are the same set."""
        return content_fingerprint(self.header(), {"label": self.label, "hash": self.hash})

    def header(self) -> dict[str, Any]:
        """What the file says besides its columns."""
        return {
            "kind": self.kind,
            "benchmark": self.benchmark,
            "imbalance": float(self.imbalance),
            "data_seed": self.data_seed,
            "counts": self.counts,
            "class_names": list(self.class_names),
            "pool": self.pool,
        }


def tail_rows(pool: Pool, meta_per_class: int) -> NDArray[np.int64]:
    """The rows of `pool` that training sets are drawn from: the source without the meta set."""
    source = pool.rows("source")
    return source[remaining(pool.hash[source], pool.hash[_meta_rows(pool, meta_per_class)])]


def draw_train(pool: Pool, imbalance: float, counts: Sequence[int], meta_per_class: int) -> Manifest:
    """The training set with counts[c] images of class c; the one at a higher imbalance is a subset.

    Raises InputError if the pool has too few images of a class.
    """
    tail = tail_rows(pool, meta_per_class)
    return _of_pool(pool, _drawn(pool, tail, counts, "train"), "train", imbalance)


def draw_meta(pool: Pool, imbalance: float, meta_per_class: int) -> Manifest:
    """The balanced meta set; the same images at all imbalances. Raises InputError as `draw_train`."""
    return _of_pool(pool, _meta_rows(pool, meta_per_class), "meta", imbalance)


def _meta_rows(pool: Pool, per_class: int) -> NDArray[np.int64]:
    held_out = pool.rows("val") if len(pool.rows("val")) else pool.rows("source")
    return _drawn(pool, held_out, [per_class] * len(pool.class_names), "meta")


def _drawn(pool: Pool, rows: NDArray[np.int64], counts: Sequence[int], kind: Kind) -> NDArray[np.int64]:
    """counts[c] of `rows` for each class c: by content, or the last in the files for the meta set, the first
    for the training set.
    """
    label = pool.label[rows]
    if pool.drawn_by == "content":
        return rows[select(pool.hash[rows], label, counts, seed=pool.data_seed, stream=kind)]
    place = pool.image[rows]
    return rows[in_order(-place if kind == "meta" else place, label, counts, stream=kind)]


def _of_pool(pool: Pool, rows: NDArray[np.int64], kind: Kind, imbalance: float) -> Manifest:
    rows = np.sort(rows)  # manifests keep the pool's order
    return Manifest(
        kind=kind,
        benchmark=pool.benchmark,
        imbalance=imbalance,
        data_seed=pool.data_seed,
        class_names=pool.class_names,
        pool=pool.fingerprint,
        image=pool.image[rows],
        label=pool.label[rows],
        hash=pool.hash[rows],
    )


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Write `manifest` to `path`, whole or not at all; the same manifest gives the same bytes."""
    columns = {name: getattr(manifest, name) for name in SCHEMA.names}
    write_columns(path, columns, {**manifest.header(), "fingerprint": manifest.fingerprint})


def read_manifest(path: Path, kind: Kind, pool: Pool, imbalance: float) -> Manifest:
    """Read the manifest of `kind` that belongs to `pool` and `imbalance`, and check all of it.

    Raises InputError naming the file, what it has, what is expected, and the command that makes it again.
    """
    columns, header = read_columns(path, kind, SCHEMA)
    try:
        manifest = Manifest(
            kind=kind,
            benchmark=header["benchmark"],
            imbalance=float(header["imbalance"]),
            data_seed=header["data_seed"],
            class_names=tuple(header["class_names"]),
            pool=header["pool"],
            **columns,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(path, f"its metadata is not that of a manifest ({error})") from None
    check_labels(path, manifest.label, manifest.class_names)
    check_fingerprint(path, header, {**manifest.header(), "fingerprint": manifest.fingerprint})
    if manifest.pool != pool.fingerprint:
        raise InputError(path, f"belongs to pool {manifest.pool[:12]}, expected {pool.fingerprint[:12]}")
    if manifest.imbalance != imbalance:
        raise InputError(path, f"imbalance {manifest.imbalance:.12g}, expected {imbalance:.12g}")
    source = pool.split != "test"
    known = _rows(pool.image[source], pool.label[source], pool.hash[source])
    strange = sorted(_rows(manifest.image, manifest.label, manifest.hash) - known)
    if strange:
        raise InputError(
            path, f"{len(strange)} images are not in the source of the pool (first: image {strange[0][0]})"
        )
    return manifest


def _rows(*columns: NDArray[Any]) -> set[tuple[Any, ...]]:
    return set(zip(*(column.tolist() for column in columns), strict=True))


def check_disjoint(
    train: NDArray[np.str_], meta: NDArray[np.str_], test: NDArray[np.str_], shared: Iterable[str] = ()
) -> None:
    """Raise InputError if two of the sets, given by content hashes, have an image in common.

    `shared` are the contents that training and meta set may have in common with the test set: `Pool.shared`,
    which is empty unless the user asked for such duplicates to be kept.
    """
    pairs = {
        "training and meta": (train, meta, ()),
        "training and test": (train, test, shared),
        "meta and test": (meta, test, shared),
    }
    for names, (one, other, allowed) in pairs.items():
        found = sorted(set(np.intersect1d(one, other).tolist()) - set(allowed))
        if found:
            first = ", ".join(content[:12] for content in found[:3])
            raise InputError(
                f"{names} set",
                f"{len(found)} images in common (first contents: {first})",
                "draw them again: prepare, subsample, extract_meta",
            )


def set_digest(hashes: Iterable[str]) -> str:
    """Hex sha256 of a set of images, given by their content hashes: sorted, one per line."""
    return hashlib.sha256("\n".join(sorted(hashes)).encode()).hexdigest()


def disjoint_proof(
    train: NDArray[np.str_], meta: NDArray[np.str_], test: NDArray[np.str_], shared: Iterable[str] = ()
) -> dict[str, Any]:
    """How many images each set has, the hash of its content hashes, and how many test images they share.

    `shared` counts contents of training or meta set that are test images as well: 0 unless `duplicates: keep`
    allowed them. The rest can be recomputed, see `set_digest`. Raises InputError as `check_disjoint`.
    """
    check_disjoint(train, meta, test, shared)
    proof: dict[str, Any] = {
        name: {"images": len(hashes), "sha256": set_digest(hashes.tolist())}
        for name, hashes in (("train", train), ("meta", meta), ("test", test))
    }
    proof["shared"] = len(np.intersect1d(np.concatenate([train, meta]), test))
    return proof
