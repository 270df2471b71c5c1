"""Random draws that depend on (seed, stream, step) and nothing else.

No draw depends on an earlier one, so resuming needs no saved RNG state, and neither the number of workers nor
the order of work changes a result.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def derived_seed(seed: int, stream: str, step: int = 0) -> int:
    """A 63-bit seed, independent for every (seed, stream, step)."""
    digest = hashlib.sha256(f"{seed}/{stream}/{step}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def generator(seed: int, stream: str, step: int = 0) -> torch.Generator:
    """A CPU generator for one stream at one step."""
    return torch.Generator().manual_seed(derived_seed(seed, stream, step))


def numpy_generator(seed: int, stream: str, step: int = 0) -> np.random.Generator:
    """A generator of NumPy for one stream at one step: faster where there are millions of draws."""
    return np.random.Generator(np.random.PCG64(derived_seed(seed, stream, step)))


@contextmanager
def global_draws(seed: int, stream: str, step: int = 0) -> Iterator[None]:
    """For code that can only draw from the global CPU state, such as module constructors.

    Inside the block that state is derived from (seed, stream, step); afterwards it is restored.
    """
    with torch.random.fork_rng(devices=[]):
        # torch.manual_seed would seed the GPUs as well
        torch.default_generator.manual_seed(derived_seed(seed, stream, step))
        yield
