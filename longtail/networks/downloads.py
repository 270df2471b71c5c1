"""Pretrained weights published by torchvision, downloaded only if the user asks."""

import hashlib
from pathlib import Path

from longtail.errors import InputError, flat

FILES = {"resnet152": "resnet152-394f9c45.pth"}
"""By the name of torchvision's model: its first weights for ImageNet. The part before `.pth` is the start
of the content's SHA-256."""


def fetch_weights(model: str, folder: Path) -> Path:
    """The file of a model's weights in `folder`, downloaded if it is missing. Raises InputError.

    The content is checked against the published start of its hash, before the file gets its name and on every
    call.
    """
    path = folder / FILES[model]
    published = path.stem.rpartition("-")[2]
    if not path.is_file():
        _fetch(address(model), path, published)
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if not found.startswith(published):
        raise InputError(path, f"its SHA-256 begins with {found[:8]}, not as published", "delete it")
    return path


def address(model: str) -> str:
    """The address of the weights, from torchvision."""
    from torchvision.models import get_model_weights

    return get_model_weights(model)["IMAGENET1K_V1"].url


def _fetch(url: str, path: Path, published: str) -> None:
    import torch

    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        torch.hub.download_url_to_file(url, str(path), hash_prefix=published, progress=False)
    except (OSError, RuntimeError) as error:  # no network, or not the published content
        reason = flat(error)[:200]
        raise InputError(
            url, f"not fetched ({reason})", "fetch it by other means, and give the file, not `download`"
        ) from None
