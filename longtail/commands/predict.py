"""`longtail predict`: a trained cell applied to image files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from longtail.errors import InputError, shown
from longtail.pipeline import console, options
from longtail.pipeline.devices import choose_device
from longtail.pipeline.remedies import remedies

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from longtail.data.image_folders import Found
    from longtail.inference.predictors import Predictor

BATCH = 64
"""Images per batch."""


class Reading:
    """Image files as batches of arrays; an unreadable file raises, or is recorded in `bad`."""

    def __init__(self, files: list[Path], predictor: Predictor, skip_bad: bool) -> None:
        self.files, self.skip_bad = files, skip_bad
        self.shape, self.rules = predictor.image_shape, predictor.pixel_rules
        self.bad: list[str] = []
        self.resized = 0
        self.grey: list[int] = []
        self.colour: list[int] = []

    def batches(self) -> Iterator[tuple[list[Path], NDArray[np.uint8]]]:
        """Paths and their images uint8 [B, H, W, channels].

        Raises InputError, after the images before the bad one, unless `skip_bad`.
        """
        import numpy as np

        for first in range(0, len(self.files), BATCH):
            images: dict[Path, NDArray[np.uint8]] = {}
            bad = None
            for path in self.files[first : first + BATCH]:
                try:
                    image = self._image(path)
                except InputError as error:
                    bad = error
                    break
                if image is not None:
                    images[path] = image
            if images:
                yield list(images), np.stack(list(images.values()))
            if bad is not None:
                raise bad

    def _image(self, path: Path) -> NDArray[np.uint8] | None:
        from longtail.data.image_files import read_image

        try:
            image, decoded = read_image(path, self.shape, self.rules)
        except InputError as error:
            if not self.skip_bad:
                raise InputError(error.where, error.problem, "--skip-bad leaves it out") from None
            self.bad.append(str(error))
            return None
        self.grey += [] if decoded.grey is None else [decoded.grey]
        self.colour += [] if decoded.colour is None else [decoded.colour]
        found = (decoded.image.height, decoded.image.width)
        if found != self.shape[:2]:
            if not self.resized:
                size, wanted = ("x".join(map(str, sides)) for sides in (found, self.shape[:2]))
                console.say(
                    "predict", f"{shown(path)} is {size}: resized to {wanted}, as are all others that differ"
                )
            self.resized += 1
        return image


def write_csv(path: Path, rows: list[tuple[str, int, str, float]]) -> None:
    """Write (path, rank from 1, class, probability), whole or not at all. Raises InputError."""
    import csv

    from longtail.files import atomic_path

    try:
        with (
            atomic_path(path) as temporary,
            temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
        ):
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["path", "rank", "class", "probability"])
            writer.writerows((*row[:3], f"{row[3]:.6g}") for row in rows)
    except OSError as error:
        raise InputError(f"--csv {path}", error.strerror, "write elsewhere") from None


@contextmanager
def _kept(csv: Path | None, rows: list[tuple[str, int, str, float]]) -> Iterator[None]:
    """Where the block ends early, write the `rows` so far beside `csv`, which stays as it was."""
    try:
        yield
    except (InputError, console.Stopped):
        if csv is not None and rows:
            partial = csv.with_name(f"{csv.stem}.partial{csv.suffix}")
            write_csv(partial, rows)
            console.say("predict", f"{shown(partial)} has the {len({row[0] for row in rows})} images before")
        raise


def _announce(predictor: Predictor, found: Found) -> None:
    from longtail.data.image_folders import passed_over

    shape = "x".join(map(str, predictor.image_shape))
    console.say(
        "predict",
        f"{predictor.name}, {predictor.weights} weights (iteration {predictor.iteration}), "
        f"{len(predictor.class_names)} classes, {shape}, on {predictor.device}; images: {len(found.files)}",
    )
    if passed := passed_over({"": found}):
        console.say("predict", passed)
    if found.links:
        console.say(
            "predict",
            f"symbolic links out of a folder, or to one, are not followed: {len(found.links)} left out",
        )


@remedies("train the cell first: `dvc repro`")
def main(
    images: Annotated[list[Path], typer.Argument(help="Image files, and folders of them.", metavar="IMAGE")],
    model: Annotated[Path, typer.Option(help="The folder of a trained cell, models/.../seed1.")],
    top: Annotated[int, typer.Option(help="How many classes to give for each image.", min=1)] = 3,
    weights: options.Weights = "last",
    csv: Annotated[Path | None, typer.Option(help="Write path, rank, class, probability here too.")] = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Go on past images that cannot be read.")
    ] = False,
    device: options.Device = "auto",
) -> None:
    """Classify image files with a trained cell."""
    if csv is not None and csv.is_dir():
        raise InputError(f"--csv {csv}", "a folder", "give a file")
    from longtail.data.image_files import deep_notes
    from longtail.data.image_folders import find_images

    found = find_images(images)
    from longtail.inference.predictors import load_predictor

    predictor = load_predictor(model, weights, choose_device(device))
    _announce(predictor, found)
    names = predictor.class_names
    words = [shown(name) for name in names]
    reading = Reading(found.files, predictor, skip_bad)
    path_width = max(len(shown(path)) for path in found.files)
    name_width = max(map(len, words))
    rows: list[tuple[str, int, str, float]] = []
    read = 0
    with _kept(csv, rows):
        for paths, batch in reading.batches():
            probabilities = predictor.probabilities(batch)
            order = (-probabilities).argsort(axis=1, kind="stable")[:, :top]
            for path, own, ranked in zip(paths, probabilities, order.tolist(), strict=True):
                answers = "   ".join(f"{words[i]:<{name_width}} {100 * own[i]:5.1f} %" for i in ranked)
                print(f"{shown(path):<{path_width}}   {answers}", flush=True)
                rows += [(str(path), rank, names[i], float(own[i])) for rank, i in enumerate(ranked, start=1)]
            read += len(paths)
    bits = predictor.pixel_rules.bits
    for note in deep_notes(reading.grey, reading.colour, bits, expected=bits):
        console.say("predict", note)
    for message in reading.bad:
        console.say("predict", f"left out: {message}")
    if not read:
        raise InputError(f"none of {len(found.files)} images could be read; the first", reading.bad[0])
    parts = [
        f"{read} image{'s' if read > 1 else ''}",
        *([f"{len(reading.bad)} left out"] if reading.bad else []),
    ]
    parts += [f"{reading.resized} resized"] if reading.resized else []
    if csv is not None:
        write_csv(csv, rows)
        parts.append(str(csv))
    console.done("predict", ", ".join(parts))
