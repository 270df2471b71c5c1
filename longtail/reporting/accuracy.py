"""Top-1 accuracy per class and per shot group, and calibration, from saved logits; numpy only."""

import base64
import binascii
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from longtail.config.benchmarks import ShotConvention, ShotThresholds

SPLITS = ("all", "many", "medium", "few")
"""Of the test images: all of them, and those of the classes of each shot group."""
BINS = 15
"""Of confidence, as in Guo et al., Table 1."""


def check_predictions(logits: npt.NDArray[np.floating], labels: npt.NDArray[np.integer]) -> None:
    """Raise ValueError unless `logits` [N, C] are finite, and `labels` [N] lie in 0..C-1.

    A training that diverged predicts NaN, and `argmax` would silently count NaN as a win for its class.
    """
    if logits.ndim != 2 or labels.shape != logits.shape[:1]:
        raise ValueError(f"logits {logits.shape} and labels {labels.shape} do not belong together")
    if logits.shape[0] == 0 or logits.shape[1] == 0:
        raise ValueError("no predictions")
    finite = np.isfinite(logits).all(axis=1)
    if not finite.all():
        raise ValueError(f"the logits of row {int(np.argmin(finite))} are not finite")
    known = (labels >= 0) & (labels < logits.shape[1])
    if not known.all():
        row = int(np.argmin(known))
        raise ValueError(f"label {int(labels[row])} in row {row} is not in 0..{logits.shape[1] - 1}")


def correct(logits: npt.NDArray[np.floating], labels: npt.NDArray[np.integer]) -> npt.NDArray[np.bool_]:
    """Whether each of N images has its own class on top, [N].

    Among equal logits the lowest class index wins, as in scikit-learn, torchmetrics and `torch.argmax`.
    Raises ValueError as `check_predictions` does.
    """
    check_predictions(logits, labels)
    return logits.argmax(axis=1) == labels


def pack(hits: npt.NDArray[np.bool_]) -> str:
    """One bit per image, [N] as base64: 10,000 images take 1.7 kB."""
    return base64.b64encode(np.packbits(hits).tobytes()).decode()


def unpack(text: str, images: int) -> npt.NDArray[np.bool_]:
    """What `pack` made of [`images`]. Raises ValueError if `text` is not that long, or not base64."""
    try:
        packed = np.frombuffer(base64.b64decode(text, validate=True), np.uint8)
    except binascii.Error as error:
        raise ValueError(f"not base64: {error}") from None
    if len(packed) != (images + 7) // 8:
        raise ValueError(f"{len(packed)} bytes, not the bits of {images} images")
    return np.unpackbits(packed, count=images).astype(bool)


def percent_per_class(
    logits: npt.NDArray[np.floating], labels: npt.NDArray[np.integer]
) -> npt.NDArray[np.float64]:
    """Accuracy of every class in percent, [C]; NaN for a class without images. Raises ValueError."""
    hits = correct(logits, labels)
    classes = logits.shape[1]
    images = np.bincount(labels, minlength=classes)
    right = np.bincount(labels[hits], minlength=classes)
    return np.divide(100.0 * right, images, out=np.full(classes, np.nan), where=images > 0)


def group_accuracy(
    logits: npt.NDArray[np.floating], labels: npt.NDArray[np.integer], groups: Mapping[str, Sequence[int]]
) -> dict[str, float | None]:
    """Accuracy in percent over all images ("all") and over those of each group's classes.

    `groups`: class indices by group name. A group without images is None. On a balanced test set these are
    means over classes as well. Raises ValueError.
    """
    hits = correct(logits, labels)
    result: dict[str, float | None] = {"all": 100.0 * float(hits.mean())}
    for name, members in groups.items():
        inside = np.isin(labels, np.asarray(members, dtype=np.int64))
        result[name] = 100.0 * float(hits[inside].mean()) if inside.any() else None
    return result


MISLAS_RANGES = {"many": range(36), "medium": range(36, 71), "few": range(71, 100)}


def shot_groups(
    counts: Sequence[int], thresholds: ShotThresholds, convention: ShotConvention
) -> dict[str, list[int]]:
    """Class indices of the groups 'many', 'medium' and 'few', in this order; a group may be empty.

    many: n > many_above. few: n < few_below ("kang": Kang et al., "Decoupling Representation and Classifier
    for Long-Tailed Recognition", ICLR 2020), or n <= few_below ("mislas": Zhong et al., "Improving
    Calibration for Long-Tailed Recognition", CVPR 2021). medium: the rest. "mislas_ranges" is what the code
    of Zhong et al. has for CIFAR-100-LT, whatever the counts: classes 0-35, 36-70 and 71-99.

    Raises ValueError for ranges of other than 100 classes.
    """
    if convention == "mislas_ranges":
        if len(counts) != MISLAS_RANGES["few"].stop:
            raise ValueError(f"mislas_ranges are of CIFAR-100-LT's 100 classes, not of {len(counts)}")
        return {name: list(labels) for name, labels in MISLAS_RANGES.items()}
    groups: dict[str, list[int]] = {"many": [], "medium": [], "few": []}
    for label, count in enumerate(counts):
        few = count < thresholds.few_below or (convention == "mislas" and count == thresholds.few_below)
        group = "many" if count > thresholds.many_above else "few" if few else "medium"
        groups[group].append(label)
    return groups


def expected_calibration_error(
    logits: npt.NDArray[np.floating], labels: npt.NDArray[np.integer], bins: int = BINS
) -> float:
    """Expected calibration error (Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, Eq. 3),
    in percent: mean over images of |accuracy - confidence| of the image's confidence bin.

    `logits` [N, C], `labels` [N]. Confidence is the largest softmax probability; bin m of `bins` equal ones
    is ((m-1)/bins, m/bins]. Raises ValueError as `check_predictions` does.
    """
    hits = correct(logits, labels)
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    confidence = 1.0 / exponentials.sum(axis=1, dtype=np.float64)
    edges = np.linspace(0.0, 1.0, bins + 1)
    bin_index = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    right = np.bincount(bin_index, weights=hits, minlength=bins)
    expected = np.bincount(bin_index, weights=confidence, minlength=bins)
    return 100.0 * float(np.abs(right - expected).sum() / len(hits))
