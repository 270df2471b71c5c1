"""Made-up lists of four classes, and small trees of the images that they name."""

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from longtail.config.benchmarks import Totals
from longtail.data.image_lists import LongTailed, long_tailed, read_list
from longtail.errors import InputError

# original label: training images; labels 0 and 3 are tied
TRAIN = {0: 4, 1: 2, 2: 9, 3: 4}
SCENES = ("pier", "living room", "arch", "zoo")


def write_lists(folder: Path) -> None:
    """Lists of four classes with 4 val and 2 test images each."""
    train = [f"train/{SCENES[c]}/{i}.jpg {c}" for c, n in TRAIN.items() for i in range(n)]
    val = [f"train/{SCENES[c]}/v{i}.jpg {c}" for c in TRAIN for i in range(4)]
    test = [f"val/{SCENES[c]}/{c}_{i}.jpg {c}" for c in TRAIN for i in range(2)]
    for name, lines in (("train", train), ("val", val), ("test", test)):
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n")


def read_lists(folder: Path, root: Path, totals: Totals | None = None) -> LongTailed:
    return long_tailed(
        *(read_list(folder / f"{n}.txt", root) for n in ("train", "val", "test")), totals=totals
    )


def make_tree(lists: LongTailed) -> None:
    """A small JPEG for every image of the lists."""
    for part in lists.sets:
        for row, file in enumerate(part.files):
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (6, 5), (row, 90, 30)).save(file)


def refused(action: Callable[[], object], *words: str) -> str:
    with pytest.raises(InputError) as error:
        action()
    message = str(error.value)
    assert "\n" not in message
    assert [word for word in words if word not in message] == []
    return message
