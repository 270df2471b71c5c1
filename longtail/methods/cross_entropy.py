"""Cross-entropy: -log softmax(z)_y, averaged over the batch.

No settings. The paper's Table 1 has no such row; it is the control for all other methods.
"""

from longtail.training.method import Method


class CrossEntropy(Method):
    """The plain loss: every hook as `Method` has it."""

    replayable = True


METHOD = CrossEntropy
