"""Images of one content under several labels."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from longtail.errors import shown

SHOWN = 3
"""Contents that `conflicts_text` names."""


def conflicting(hashes: NDArray[np.str_], label: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which images [N] have the content of an image with another label. `hashes` [N], `label` [N]."""
    _, content = np.unique(hashes, return_inverse=True)
    several = np.zeros(len(hashes), bool)
    first = np.full(content.max(initial=-1) + 1, -1)
    first[content[::-1]] = label[::-1]
    several[content[label != first[content]]] = True
    return several[content]


def conflicts_text(
    hashes: NDArray[np.str_],
    label: NDArray[np.int64],
    class_names: Sequence[str],
    name_of: Callable[[int], str],
) -> str:
    """Part of a line: how many contents have several labels, and the images of the first few.

    `name_of` names an image by its row.
    """
    rows = np.flatnonzero(conflicting(hashes, label))
    contents = dict.fromkeys(hashes[rows].tolist())  # in the order of the images
    groups = [
        " = ".join(
            f"{name_of(row)} ({shown(class_names[int(label[row])])})" for row in rows[hashes[rows] == one]
        )
        for one in list(contents)[:SHOWN]
    ]
    more = "; ..." if len(contents) > SHOWN else ""
    return f"{len(contents)} images are under several labels ({len(rows)} copies): {'; '.join(groups)}{more}"
