import numpy as np
import pytest

from longtail.reporting.accuracy import expected_calibration_error


def two_class_logits(confidence: list[float]) -> np.ndarray:
    """Logits whose first class has each of these probabilities."""
    p = np.array(confidence)
    return np.stack([np.log(p / (1 - p)), np.zeros_like(p)], axis=1)


def test_error_is_that_computed_by_hand():
    # bin (0.6, 0.667]: one right of two at 0.65; bin (0.867, 0.933]: both right at 0.9
    logits = two_class_logits([0.65, 0.65, 0.9, 0.9])
    expected = 100 * (2 * abs(0.5 - 0.65) + 2 * abs(1 - 0.9)) / 4
    assert expected_calibration_error(logits, np.array([0, 1, 0, 0])) == pytest.approx(expected)


def test_errors_within_a_bin_cancel_and_across_bins_do_not():
    logits = two_class_logits([0.75, 0.75, 0.75, 0.75])
    assert expected_calibration_error(logits, np.array([0, 0, 0, 1])) == pytest.approx(0, abs=1e-9)
    apart = two_class_logits([0.65, 0.65, 0.85, 0.85])
    assert expected_calibration_error(apart, np.array([0, 0, 0, 1])) == pytest.approx(35)


@pytest.mark.parametrize("bins", [5, 15])
def test_error_equals_torchmetrics(bins):
    import torch
    from torchmetrics.functional.classification import multiclass_calibration_error

    rng = np.random.default_rng(1)
    labels = rng.integers(10, size=800)
    logits = (2 * rng.normal(size=(800, 10)) + 2 * np.eye(10)[labels]).astype(np.float32)
    theirs = multiclass_calibration_error(torch.tensor(logits), torch.tensor(labels), 10, n_bins=bins)
    assert expected_calibration_error(logits, labels, bins) == pytest.approx(100 * float(theirs), rel=1e-5)


def test_huge_logits_do_not_overflow():
    logits = np.array([[4e4, -4e4], [4e4, -4e4]], dtype=np.float32)
    assert expected_calibration_error(logits, np.array([0, 1])) == pytest.approx(50)
