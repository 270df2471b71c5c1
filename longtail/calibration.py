"""Expected calibration error (Guo et al., On Calibration of Modern Neural Networks, ICML 2017)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from longtail.accuracy import correct

BINS = 15
"""As in Guo et al., Table 1."""


def expected_calibration_error(
    logits: npt.NDArray[np.floating], labels: npt.NDArray[np.integer], bins: int = BINS
) -> float:
    """Their Eq. 3 in percent: mean over images of |accuracy - confidence| of the image's confidence bin.

    `logits` [N, C], `labels` [N]. Confidence is the largest softmax probability; bin m of `bins` equal ones
    is ((m-1)/bins, m/bins]. Raises ValueError as `accuracy.check_predictions` does.
    """
    hits = correct(logits, labels)
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    confidence = 1.0 / exponentials.sum(axis=1, dtype=np.float64)
    edges = np.linspace(0.0, 1.0, bins + 1)
    bin_index = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    right = np.bincount(bin_index, weights=hits, minlength=bins)
    expected = np.bincount(bin_index, weights=confidence, minlength=bins)
    return 100.0 * float(np.abs(right - expected).sum() / len(hits))
