"""Logits on which losses are compared with their formulas, and those formulas' common part."""

import warnings

import numpy as np
import torch
from numpy.typing import NDArray

from longtail.training.method import Method, StepInfo, Task

MOMENT = StepInfo(iteration=0, iterations=100, learning_rate=0.1)

CLASSES = 6
COUNTS = Task(counts=torch.tensor([500, 120, 60, 20, 7, 1]), seed=1, imbalance=100)
EQUAL = Task(counts=torch.full((CLASSES,), 40), seed=1, imbalance=1)

_draws = np.random.default_rng(3)
_random = 4 * _draws.standard_normal((32, CLASSES))
_huge = 1e4 * _draws.choice([-1.0, 1.0], (32, CLASSES))
_every_class = np.arange(32) % CLASSES

CASES: dict[str, tuple[NDArray[np.float64], NDArray[np.int64]]] = {
    "random logits": (_random, _every_class),
    "logits of 1e4 and -1e4": (_huge, _every_class),
    "two classes only": (_random, np.where(np.arange(32) % 3, 1, 5)),
    "equal logits": (np.zeros((32, CLASSES)), _every_class),
    "one image": (_random[:1], _every_class[:1]),
}


def log_softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """z - log sum exp z, [B, C]."""
    shifted = logits - logits.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))


def found_losses(method: Method, name: str) -> NDArray[np.float64]:
    """What `method` says of a case, [B]."""
    logits, labels = CASES[name]
    losses = method.sample_losses(torch.from_numpy(logits), torch.from_numpy(labels), MOMENT)
    assert losses.dtype == torch.float64
    assert losses.shape == (len(labels),)
    assert torch.isfinite(losses).all()
    return losses.numpy()


def check_gradient(method: Method) -> None:
    """The gradient of the losses, and the tangent that the meta-gradient needs, by finite differences."""
    logits, labels = CASES["random logits"]
    some = torch.from_numpy(logits[:7]).requires_grad_()
    with warnings.catch_warnings():  # forward mode warns of its own deprecated calls at its first use
        warnings.simplefilter("ignore", FutureWarning)
        assert torch.autograd.gradcheck(
            lambda z: method.sample_losses(z, torch.from_numpy(labels[:7]), MOMENT),
            some,
            check_forward_ad=True,
        )
