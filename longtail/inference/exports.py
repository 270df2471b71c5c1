"""Export of a trained cell as an ONNX file that takes uint8 images."""

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from longtail.errors import InputError
from longtail.files import atomic_path
from longtail.inference.predictors import Predictor

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
"""Packages that an export needs besides the project's own."""

TOLERANCE = 1e-4
RELATIVE_TOLERANCE = 1e-5
"""How far logits here and in ONNX Runtime may differ: by the first, or by the second of the largest logit.

Float32 leaves that much to the order of sums: an untrained ResNet-32, whose logits come near 1,000, differs
by 6e-4.
"""


def check_packages() -> None:
    """Raise InputError unless the packages of the extra `export` are there."""
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise InputError(
            "--onnx",
            f"no package {', '.join(missing)}",
            "`python -m pip install -c constraints.txt -e '.[export]'` installs what it needs",
        )


def export_onnx(predictor: Predictor, path: Path) -> tuple[float, float]:
    """Write `predictor`, on the CPU, to `path`: "images" uint8 [N, H, W, channels] to "logits" [N, C].

    N is free; normalisation is in the graph, names of classes and shape of images in the metadata. The file
    is written only when ONNX Runtime gives the logits of `predictor`. Returns the largest difference between
    them and the largest logit (absolute values). Raises InputError if the difference is too large.
    """
    model = _onnx_model(predictor)
    content = model.SerializeToString()
    difference, largest = _compare(predictor, content)
    allowed = max(TOLERANCE, RELATIVE_TOLERANCE * largest)
    if not difference <= allowed:
        raise InputError(
            path,
            f"not written: ONNX Runtime's logits differ by up to {difference:.1e} (logits up to "
            f"{largest:.3g}), more than {allowed:.1e}",
        )
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
    return difference, largest


def _onnx_model(predictor: Predictor) -> Any:
    example = torch.zeros(2, *predictor.image_shape, dtype=torch.uint8)
    with _quiet():
        program = torch.onnx.export(
            predictor.model,
            (example,),
            input_names=["images"],
            output_names=["logits"],
            dynamic_shapes={"images": {0: torch.export.Dim("batch")}},
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    for node in model.graph.node:  # the exporter stores source lines and file names there
        del node.metadata_props[:]
    facts = {
        "cell": predictor.name,
        "fingerprint": predictor.record.fingerprint,
        "weights": predictor.weights,
        "class_names": json.dumps(predictor.class_names),
        "image_shape": json.dumps(predictor.image_shape),
    }
    for name, value in facts.items():
        model.metadata_props.add(key=name, value=value)
    return model


@contextmanager
def _quiet() -> Iterator[None]:
    # the exporter warns about deprecations in its own libraries and about optional packages
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def trial_images(shape: tuple[int, int, int]) -> Iterator[NDArray[np.uint8]]:
    """Batches [N, H, W, channels] of 1, 2 and 64 images: black, white, noise, smooth as photographs are."""
    height, width, _ = shape
    yield np.zeros((1, *shape), np.uint8)
    yield np.stack([np.zeros(shape, np.uint8), np.full(shape, 255, np.uint8)])
    draws = np.random.default_rng(0)
    noise = draws.integers(0, 256, (32, *shape))
    y, x = np.ogrid[:height, :width]
    slopes = draws.uniform(-3, 3, (2, 32, 1, 1))
    waves = np.sin(slopes[0] * y / height + slopes[1] * x / width)[..., None]
    smooth = np.broadcast_to(127.5 + 127.5 * waves, (32, *shape))
    yield np.concatenate([noise, smooth]).astype(np.uint8)


def _compare(predictor: Predictor, content: bytes) -> tuple[float, float]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    own, differences = [], []
    for images in trial_images(predictor.image_shape):
        own.append(predictor.logits(images))
        differences.append(own[-1] - session.run(["logits"], {"images": images})[0])
    return _largest(differences), _largest(own)


def _largest(arrays: list[NDArray[np.float32]]) -> float:
    return float(np.max([np.abs(array).max() for array in arrays]))  # NaN, where there is one
