import numpy as np
import pytest

from longtail.reporting.accuracy import group_accuracy, percent_per_class

GROUPS = {"many": [0], "medium": [1, 2], "few": [3]}
# classes 0, 0, 1, 2, 2, 2 of 4, predicted as 0, 1, 1, 2, 2, 0
LABELS = np.array([0, 0, 1, 2, 2, 2])
LOGITS = np.eye(4, dtype=np.float32)[[0, 1, 1, 2, 2, 0]]


def drawn(images: int = 600, classes: int = 7) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = rng.integers(classes, size=images)
    return rng.normal(size=(images, classes)).astype(np.float32) + 1.5 * np.eye(classes)[labels], labels


def test_accuracies_are_those_counted_by_hand():
    np.testing.assert_allclose(percent_per_class(LOGITS, LABELS), [50, 100, 200 / 3, np.nan])
    found = group_accuracy(LOGITS, LABELS, GROUPS)
    assert found == pytest.approx({"all": 400 / 6, "many": 50, "medium": 75, "few": None})


def test_accuracies_equal_scikit_learns_and_torchmetrics():
    import torch
    from sklearn.metrics import accuracy_score, confusion_matrix
    from torchmetrics.functional.classification import multiclass_accuracy

    logits, labels = drawn()
    assert group_accuracy(logits, labels, {})["all"] == pytest.approx(
        100 * accuracy_score(labels, logits.argmax(1)), abs=1e-10
    )
    recall = confusion_matrix(labels, logits.argmax(1), normalize="true").diagonal()
    np.testing.assert_allclose(percent_per_class(logits, labels), 100 * recall, rtol=1e-12)
    theirs = multiclass_accuracy(torch.tensor(logits), torch.tensor(labels), 7, average="none")
    np.testing.assert_allclose(percent_per_class(logits, labels), 100 * theirs.numpy(), rtol=1e-6)


def test_of_equal_logits_the_lowest_class_wins():
    np.testing.assert_array_equal(percent_per_class(np.zeros((2, 2)), np.array([0, 1])), [100, 0])


@pytest.mark.parametrize(
    ("logits", "labels", "complaint"),
    [
        ([[0, np.nan]], [0], "row 0 are not finite"),
        ([[0, 1], [0, np.inf]], [0, 0], "row 1 are not finite"),
        ([[0, 1]], [2], "label 2 in row 0 is not in 0..1"),
        ([[0, 1]], [-1], "label -1"),
        ([[0, 1]], [0, 1], "do not belong together"),
        (np.zeros((0, 2)), np.zeros(0, int), "no predictions"),
    ],
)
def test_predictions_that_mean_nothing_are_refused(logits, labels, complaint):
    with pytest.raises(ValueError, match=complaint):
        percent_per_class(np.array(logits, dtype=float), np.array(labels))
