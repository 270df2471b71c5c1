"""Processes that read, check and decode image files during a training."""

from __future__ import annotations

import hashlib
import multiprocessing
import multiprocessing.context
import os
import signal
import threading
import time
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from longtail.data.image_files import AS_STORED, decode
from longtail.errors import InputError
from longtail.training.from_files import photographs

CHUNK = 8
"""Images that a process decodes per task: few, so that all processes share the next batch."""

REMEDY = "check all images with `prepare --verify`"


@dataclass(frozen=True)
class Order:
    """Images to decode: n files with the sha256 of their bytes, each to become `side` x `side` pixels.

    `draws` float64 [n, `photographs.DRAWS`] are what `augment` takes; None: the test view.
    """

    files: list[tuple[Path, str]]
    augment: str | None
    draws: NDArray[np.float64] | None
    side: int

    def parts(self) -> list[Order]:
        """The order split into pieces of `CHUNK` images."""
        starts = range(0, len(self.files), CHUNK)
        return [
            Order(
                self.files[start : start + CHUNK],
                self.augment,
                None if self.draws is None else self.draws[start : start + CHUNK],
                self.side,
            )
            for start in starts
        ]


def decoded(order: Order) -> tuple[NDArray[np.uint8], float]:
    """The images uint8 [n, 3, side, side], and the seconds this took.

    Raises InputError for a file that is missing, damaged, or not the one in the pool.
    """
    began = time.monotonic()
    images = np.empty((len(order.files), 3, order.side, order.side), np.uint8)
    for row, (file, content) in enumerate(order.files):
        try:
            found = file.read_bytes()
        except OSError as error:
            raise InputError(file, error.strerror, REMEDY) from None
        if hashlib.sha256(found).hexdigest() != content:
            raise InputError(file, "changed since the pool was made", "run `prepare` again")
        # as the authors' code reads them
        image = decode(file, "RGB", found, AS_STORED).image
        if order.augment is None or order.draws is None:
            image = photographs.centre(image, order.side)
        else:
            draws = torch.from_numpy(order.draws[row])
            image = photographs.VIEWS[order.augment](image, draws, order.side)
        images[row] = photographs.pixels_of(image)
    return images, time.monotonic() - began


def _start() -> None:
    """Set up a new process: one thread, ignores Ctrl-C, and exits with the training."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # the training's handlers are not for its copies

    def watch() -> None:
        parent = multiprocessing.parent_process()
        assert parent is not None
        parent.join()
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()


def _context() -> multiprocessing.context.BaseContext:
    """How processes start: from a server that has imported this module and never used a GPU.

    A process forked by the training itself would inherit CUDA's state, which breaks from the second cell on.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


class Decoders:
    """`workers` processes; with 0, the caller decodes images when they are needed.

    The same order gives the same bytes either way.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.images = 0
        self.seconds = 0.0
        """Of all processes together, for `images`."""
        self._pool: ProcessPoolExecutor | None = None
        if workers:
            self._pool = ProcessPoolExecutor(workers, _context(), _start)
            self._pool.submit(os.getpid)  # the server starts while the training is built

    @property
    def rate(self) -> float | None:
        """Images per second of all processes together, if none has to wait."""
        return self.images * max(1, self.workers) / self.seconds if self.seconds else None

    def begin(self, order: Order) -> Decoding:
        """Distribute an order to the processes."""
        parts = order.parts()
        return Decoding(self, [self._pool.submit(decoded, part) if self._pool else part for part in parts])

    def close(self) -> None:
        """End the processes and drop what they have not begun."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)


@dataclass(frozen=True)
class Decoding:
    """An order in progress."""

    decoders: Decoders
    parts: list[Future[tuple[NDArray[np.uint8], float]] | Order]

    @property
    def ready(self) -> bool:
        """Whether `images` returns at once."""
        return all(isinstance(part, Future) and part.done() for part in self.parts)

    def images(self) -> NDArray[np.uint8]:
        """uint8 [n, 3, side, side]; waits for all. Raises InputError as `decoded`."""
        try:
            found = [part.result() if isinstance(part, Future) else decoded(part) for part in self.parts]
        except BrokenProcessPool:
            raise InputError(
                "a process that decodes images", "ended (out of memory, or by a damaged image)", REMEDY
            ) from None
        self.decoders.images += sum(len(images) for images, _ in found)
        self.decoders.seconds += sum(seconds for _, seconds in found)
        return np.concatenate([images for images, _ in found])
