"""Time of CIFAR augmentation on one CPU thread: a batch at once, and image by image with torchvision.

    python -m benchmarks.augment

Both take 128 images of 32x32 from memory and give one uint8 tensor [128, 3, 32, 32]: reflection, crop, flip,
AutoAugment, Cutout. Image by image means torchvision's transforms on PIL images, combined as usual, and
Cutout in numpy; normalisation to floats is the same for both and left out. torchvision draws its magnitudes
by another rule, from the same policy and with the same probabilities. The two take turns in one process, and
the table has the median of each.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import PIL
import torch
import torchvision
from PIL import Image
from torch import Tensor
from torchvision import transforms

from benchmarks.machine import described
from longtail.randomness import generator, global_draws
from longtail.training.augment.batch import HOLE, cifar, crop_flip

RESULTS = Path(__file__).parent / "results" / "augment.md"
BATCH = 128
TARGET = 8


def cutout(image: Image.Image) -> Tensor:
    """One image as uint8 [3, H, W], the square filled with its mean."""
    values = np.array(image)
    top, left = (int(torch.randint(-HOLE // 2, side - HOLE, ())) for side in values.shape[:2])
    values[max(top, 0) : top + HOLE, max(left, 0) : left + HOLE] = values.mean()
    return torch.from_numpy(values).permute(2, 0, 1)


PLAIN = transforms.Compose(
    [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip(), transforms.PILToTensor()]
)
FULL = transforms.Compose(
    [
        transforms.Pad(4, padding_mode="reflect"),
        transforms.RandomCrop(32, padding=4),
        transforms.RandomHorizontalFlip(),
        transforms.AutoAugment(transforms.AutoAugmentPolicy.CIFAR10),
        cutout,
    ]
)


def one_by_one(transform: Callable[[Any], Any], pictures: list[Image.Image]) -> Tensor:
    """A batch of transformed images, uint8 [B, 3, H, W]."""
    return torch.stack([transform(picture) for picture in pictures])


def natural_images(count: int) -> Tensor:
    """Smoothed noise, since neighbouring pixels of a photograph are alike, uint8 [B, 3, 32, 32]."""
    coarse = torch.rand(count, 3, 8, 8, generator=generator(1, "images"))
    return (torch.nn.functional.interpolate(coarse, size=32, mode="bicubic").clamp(0, 1) * 255).to(
        torch.uint8
    )


def seconds(rounds: int) -> dict[str, list[float]]:
    """Wall time of each way to make a batch, round by round."""
    images = natural_images(BATCH)
    pictures = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images]
    ways: dict[str, Callable[[int], Tensor]] = {
        "cifar": lambda turn: cifar(images, generator(1, "augment", turn)),
        "cifar, image by image": lambda turn: one_by_one(FULL, pictures),
        "crop_flip": lambda turn: crop_flip(images, generator(1, "augment", turn)),
        "crop_flip, image by image": lambda turn: one_by_one(PLAIN, pictures),
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    # a training has long asked for and returned larger pieces of memory, which makes the allocator keep them
    torch.empty(32 * 2**20, dtype=torch.uint8).fill_(0)
    for turn in range(-2, rounds):  # the first two warm up
        for name, way in ways.items():
            with global_draws(1, name, turn):
                start = time.perf_counter()
                made = way(turn)
                if turn >= 0:
                    taken[name].append(time.perf_counter() - start)
            assert made.shape == images.shape
            assert made.dtype == torch.uint8
    return taken


def report(taken: dict[str, list[float]]) -> str:
    """The table, in Markdown."""
    rounds = len(taken["cifar"])
    lines = [
        "# Augmentation on one CPU thread",
        "",
        f"`python -m benchmarks.augment`: {described()}, one thread; torchvision {torchvision.__version__}, "
        f"Pillow {PIL.__version__}, numpy {np.__version__}.",
        "",
        f"Milliseconds an image, 32x32, in batches of {BATCH}; medians of {rounds} rounds in turns, and in "
        "brackets the quickest.",
        "",
        "| augmentation | a batch at once | image by image | times faster |",
        "| --- | --- | --- | --- |",
    ]
    for name in ("cifar", "crop_flip"):
        one, each = (taken[key] for key in (name, f"{name}, image by image"))
        cells = [f"{median(t) * 1e3 / BATCH:.4f} ({min(t) * 1e3 / BATCH:.4f})" for t in (one, each)]
        ratio = f"{median(each) / median(one):.1f} ({min(each) / min(one):.1f})"
        lines.append(f"| `{name}` | {cells[0]} | {cells[1]} | {ratio} |")
    lines += ["", f"Wanted of `cifar`: {TARGET} times."]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Print the table and write it to `benchmarks/results/augment.md`."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--rounds", type=int, default=60, help="batches of each kind (default 60)")
    rounds = options.parse_args().rounds
    torch.set_num_threads(1)
    text = report(seconds(rounds))
    print(text)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
