"""Weights in safetensors files, which contain numbers and no code."""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from longtail.errors import InputError, flat

SHOWN = 200
"""Characters of a reason; torch's lists all wrong names."""


def load_weights(model: nn.Module, path: Path) -> None:
    """Put the weights in `path` into `model`.

    Raises InputError if the file is missing or damaged, its names or shapes do not fit the network,
    or a weight is not finite.
    """
    if not path.is_file():
        raise InputError(path, "no such file")
    try:
        state = load_file(path)
        model.load_state_dict(state)
    except (SafetensorError, OSError) as error:
        raise InputError(path, f"truncated, or no safetensors ({_short(error)})") from None
    except RuntimeError as error:  # names or shapes of another network
        raise InputError(path, f"weights of another network ({_short(error)})") from None
    wrong = [name for name, value in state.items() if not torch.isfinite(value).all()]
    if wrong:
        raise InputError(path, f"{wrong[0]} is not finite, as {len(wrong)} of {len(state)}")


def _short(error: BaseException) -> str:
    text = flat(error)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
