"""How many training images each class keeps."""

import math
from collections.abc import Sequence
from fractions import Fraction

from longtail.errors import InputError


def exponential_profile(n_max: int, imbalance: float, classes: int) -> list[int]:
    """Training images of each class: n_c = trunc(n_max R^(-c/(C-1))), class 0 the largest.

    Cui et al., "Class-Balanced Loss Based on Effective Number of Samples", CVPR 2019. R = `imbalance` is
    n_max / n_min before truncation, C = `classes`; a single class keeps n_max. The exact
    value is truncated, with R as the decimal that the user wrote: n_max = R = 49 ends with 1 image, where
    floats give 0.9999999999999999 and so none.

    Raises InputError if `imbalance` or `n_max` is below 1, or if a class would be left without an image.
    """
    if not (math.isfinite(imbalance) and imbalance >= 1):
        raise InputError(f"imbalance {imbalance:.12g}", "it is n_max / n_min", "give a number of 1 or more")
    if n_max < 1:
        raise InputError(f"n_max {n_max}", "the largest class needs an image", "give 1 or more")
    # Python numbers: NumPy's would overflow in the exact comparison
    counts = [_count(int(n_max), float(imbalance), c, classes - 1) for c in range(classes)]
    if 0 in counts:
        raise InputError(
            f"imbalance {imbalance:.12g}",
            f"class {counts.index(0)} (of {classes}, counted from 0) would have no image at n_max {n_max}",
            f"the largest imbalance that works is {n_max}",
        )
    return counts


def natural_profile(left: Sequence[int], imbalance: float, names: Sequence[str]) -> list[int]:
    """Training images of each class [C] where the data already has a long tail, with `left[c]` images of c.

    n_c = trunc(left_c R^(-r_c/(C-1))), r_c = 0..C-1 the rank of class c by descending `left`, the lower
    index first among equals. R = `imbalance` thins the tail further; 1 leaves it as it is. Truncation as in
    `exponential_profile`.

    Raises InputError if `imbalance` is below 1, or if a class (of `names`) is left without an image.
    """
    if not (math.isfinite(imbalance) and imbalance >= 1):
        raise InputError(f"imbalance {imbalance:.12g}", "give 1 (the images as they are) or more")
    ranked = sorted(range(len(left)), key=lambda c: -left[c])
    counts = [0] * len(left)
    for rank, c in enumerate(ranked):
        whole = imbalance == 1 or not left[c]
        counts[c] = int(left[c]) if whole else _count(int(left[c]), float(imbalance), rank, len(left) - 1)
    empty = [c for c in ranked if not counts[c]]
    if empty:
        first = empty[0]
        remedy = "add images to it" if not left[first] else "choose a lower imbalance"
        raise InputError(
            f"imbalance {imbalance:.12g}",
            f"class {first} ({names[first]!r}) would keep none of the {left[first]} images that are left to "
            f"train on, as {len(empty)} of {len(left)} classes",
            remedy,
        )
    return counts


def _count(n_max: int, imbalance: float, c: int, last: int) -> int:
    """trunc(n_max R^(-c/last)), exactly."""
    if c == 0:
        return n_max
    value = n_max * imbalance ** (-c / last)
    nearest = round(value)
    if abs(value - nearest) > 1e-9 * max(value, 1.0):
        return int(value)
    # too near an integer for floats to decide: compare n <= n_max R^(-c/last) in integers
    ratio = Fraction(repr(imbalance))
    fits = nearest**last * ratio.numerator**c <= n_max**last * ratio.denominator**c
    return nearest if fits else nearest - 1
