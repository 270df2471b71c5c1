"""The pickles of the original CIFAR archives, read without running any code in them."""

import io
import pickle
from typing import Any

import numpy as np

ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}
"""The names in a numeric array pickled by NumPy 1, whichever NumPy reads it."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str, /) -> Any:
        if (module_name, global_name) not in ALLOWED:
            raise pickle.UnpicklingError(f"{module_name}.{global_name} is not part of an array")
        return ALLOWED[module_name, global_name]


def unpickled(content: bytes) -> dict[str, Any]:
    """The dictionary in a file of the archive, text as `str`; compare the file's checksum before.

    Raises pickle.UnpicklingError if it holds more than numbers, text, lists, dictionaries and arrays.
    """
    return _Unpickler(io.BytesIO(content), encoding="latin1").load()
