"""The length of a training in iterations, from a benchmark's schedule and the user's changes."""

from longtail.config.benchmarks import Benchmark
from longtail.config.params import Params
from longtail.config.training import Training, scaled
from longtail.data.profiles import exponential_profile
from longtail.errors import InputError

LONGEST = 10**8
"""Iterations of a training."""


def training_counts(benchmark: Benchmark, imbalance: float) -> list[int] | None:
    """The training images of each class [C]; None if only the images tell.

    Raises InputError if a class would have no image.
    """
    if benchmark.tail != "exponential" or benchmark.n_max is None or benchmark.classes is None:
        return None
    return exponential_profile(benchmark.n_max, imbalance, benchmark.classes)


def training_images(benchmark: Benchmark, imbalance: float) -> int | None:
    """The size of a training set; None if only the images tell.

    For lists it is the published number, before duplicates are removed. Raises InputError if a class would
    have no image.
    """
    if benchmark.totals is not None:
        return benchmark.totals.train
    counts = training_counts(benchmark, imbalance)
    return None if counts is None else sum(counts)


def network_training(benchmark: Benchmark, imbalance: float, params: Params) -> Training:
    """The training of networks at `imbalance`, with the user's length, unit and batch size.

    An epoch is a pass over the N training images, ceil(N / B) iterations, whatever a method's sampler draws:
    all methods see as many images. Warm-up and milestones move in proportion to the length.

    Raises InputError if N is needed and only the images tell it, where a batch is larger than the training
    set, and where the training would never end.
    """
    own, chosen = benchmark.represent, params.schedule
    training = own.model_copy(
        update={"batch_size": chosen.batch_size or own.batch_size, "precision": chosen.precision}
    )
    images = None
    if chosen.unit == "epochs" or chosen.batch_size is not None:
        images = training_images(benchmark.with_meta_per_class(params.meta_per_class), imbalance)
    where = f"{benchmark.name} at imbalance {imbalance:g}"
    if images is not None and chosen.batch_size is not None and chosen.batch_size > images:
        raise InputError(
            "params.yaml",
            f"schedule.batch_size: found {chosen.batch_size}",
            f"{where} has {images} training images, give at most as many",
        )
    length, batches = chosen.length or own.iterations, 1
    if chosen.unit == "epochs":
        if images is None:
            raise InputError(
                "params.yaml",
                "schedule.unit: found epochs",
                f"the number of training images of {benchmark.name} is not known before they are read, write "
                "`unit: iterations` and a `length` in iterations",
            )
        batches = -(-images // training.batch_size)
    if length * batches * chosen.fraction > LONGEST:
        raise InputError(
            "params.yaml",
            f"schedule.length: {length} epochs of {batches} iterations ({where}) are more than {LONGEST:,} "
            "iterations",
            "give fewer epochs",
        )
    return scaled(training, length / own.iterations * batches * chosen.fraction)
