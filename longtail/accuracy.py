"""Top-1 accuracy, per class and per shot group, from saved logits; numpy only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt


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


def class_accuracy(
    logits: npt.NDArray[np.floating], labels: npt.NDArray[np.integer]
) -> npt.NDArray[np.float64]:
    """Accuracy of every class in percent, [C]; NaN for a class without images. Raises ValueError."""
    hits = correct(logits, labels)
    classes = logits.shape[1]
    images = np.bincount(labels, minlength=classes)
    right = np.bincount(labels[hits], minlength=classes)
    return np.divide(100.0 * right, images, out=np.full(classes, np.nan), where=images > 0)


def group_accuracy(
    logits: npt.NDArray[np.floating],
    labels: npt.NDArray[np.integer],
    groups: Mapping[str, Sequence[int]],
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
