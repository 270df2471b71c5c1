"""`longtail export`: a trained cell as an ONNX file or a model in MLflow."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import unquote

import typer

from longtail.errors import InputError, flat
from longtail.pipeline import console, options, paths
from longtail.pipeline.remedies import remedies

if TYPE_CHECKING:
    from longtail.inference.predictors import Predictor
    from longtail.running.cell_folders import Weights

COLUMNS = ("params.`benchmark`", "params.`imbalance`", "params.`variant`", "params.`seed`")
PAGE = "Trained cells as models of MLflow (longtail export --mlflow)."
AGAIN = "the cell is as it was; run the same command again"
REQUIREMENTS = ("mlflow", "numpy", "pandas", "pyarrow", "pydantic", "safetensors", "torch")
"""The packages that a logged model needs."""


def write_onnx(model: Path, weights: Weights, target: Path) -> None:
    """Export the cell in `model` to `target`, and print how close the two are. Raises InputError."""
    if target.is_dir():
        raise InputError(f"--onnx {target}", "a folder", "give a file")
    from longtail.inference.exports import check_packages, export_onnx

    check_packages()
    from longtail.inference.predictors import load_predictor

    # whatever the cell was trained in: the file computes in float32
    predictor = load_predictor(model, weights, precision="float32")
    _announce(predictor)
    try:
        difference, largest = export_onnx(predictor, target)
    except OSError as error:
        raise InputError(f"--onnx {target}", error.strerror, "write elsewhere") from None
    console.say(
        "export",
        f"ONNX Runtime against PyTorch: logits differ by at most {difference:.1e} (up to {largest:.3g})",
    )
    shape = "x".join(map(str, predictor.image_shape))
    console.done("export", f"{target}: 'images' uint8 Nx{shape} to 'logits' Nx{len(predictor.class_names)}")


def _announce(predictor: Predictor) -> None:
    console.say(
        "export", f"{predictor.name}, {predictor.weights} weights (iteration {predictor.iteration}), on cpu"
    )


def copy_cell(folder: Path, weights: Weights, target: Path) -> Path:
    """Copy the record and one set of weights of the cell in `folder` to `target`."""
    from longtail.running.cell_folders import WEIGHTS_FILES

    target.mkdir()
    for name in ("cell.json", WEIGHTS_FILES[weights]):
        shutil.copyfile(folder / name, target / name)
    return target


def log_model(model: Path, weights: Weights) -> None:
    """Log the cell in `model` as a pyfunc model, and say how to load it. Raises InputError."""
    from longtail.pipeline.mlflow_internals import RESULTS, View
    from longtail.pipeline.tracking import QUIET, Tracker, database, locked, patiently, server, store_uri

    root, address = paths.tracking_root(), server()
    store, where = address or store_uri(root), address or str(database(root))
    from longtail.inference.predictors import find_features, load_predictor

    predictor = load_predictor(model, weights)
    facts = predictor.record
    _announce(predictor)
    os.environ.update({**QUIET, "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"})
    with (
        tempfile.TemporaryDirectory() as place,
        locked(root, lambda: console.say("export", "waiting for another tracking process")),
    ):
        artifacts = {"cell": copy_cell(model, weights, Path(place) / "cell")}
        if (below := find_features(model, facts)) is not None:
            artifacts["features"] = copy_cell(below, facts.settings["start"], Path(place) / "features")
        experiment = patiently(
            where,
            lambda: Tracker(root, address).experiment(
                f"{facts.benchmark} · Models", PAGE, [View("all runs", f"{RESULTS}all", COLUMNS)]
            ),
            lambda reason: console.say("export", f"waiting: {reason}"),
            AGAIN,
        )
        logged = _log(predictor, artifacts, experiment, store, where)
    console.say(
        "export",
        f"input: uint8 images {predictor.image_shape}, or image files in base64; output: class, probability, "
        "probabilities",
    )
    console.say("export", "load it with")
    print(_loading(logged, store, root))
    console.done("export", f"{logged} in {where}; `longtail ui` shows it")


def _loading(logged: str, store: str, root: Path) -> str:
    """The line that loads a logged model; MLflow cannot load one in place below a path with `%2F`, say."""
    quoted = unquote(str(root)) != str(root)
    more, place = (", tempfile", ", dst_path=tempfile.mkdtemp()") if quoted else ("", "")
    model = f"mlflow.pyfunc.load_model({logged!r}{place})"
    return f"import mlflow{more}; mlflow.set_tracking_uri({store!r}); model = {model}"


def _log(predictor: Predictor, artifacts: dict[str, Path], experiment: str, store: str, where: str) -> str:
    """The address of the logged model. Raises InputError if MLflow at `where` fails in the middle."""
    from mlflow.exceptions import MlflowException

    try:
        return _logged(predictor, artifacts, experiment, store)
    except MlflowException as error:
        raise InputError(where, flat(error)[:200], AGAIN) from None


def _logged(predictor: Predictor, artifacts: dict[str, Path], experiment: str, store: str) -> str:
    import warnings

    import mlflow

    import longtail
    from longtail.pipeline.revision import code_tags

    facts = predictor.record
    code = Path(longtail.__file__).parent
    mlflow.set_tracking_uri(store)
    run = mlflow.start_run(experiment_id=experiment, run_name=predictor.name, tags=code_tags())
    with run, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's advice on type hints and examples
        mlflow.set_tags({"fingerprint": facts.fingerprint, "weights": predictor.weights})
        named = {
            name: getattr(facts, name) for name in ("benchmark", "imbalance", "variant", "seed", "network")
        }
        mlflow.log_params({**named, "method": facts.head or facts.method})
        logged = mlflow.pyfunc.log_model(
            name=predictor.name.replace(".", "_"),
            python_model=str(Path(longtail.__file__).parent / "pipeline" / "pyfunc_model.py"),
            artifacts={name: str(folder) for name, folder in artifacts.items()},
            model_config={"weights": predictor.weights},
            code_paths=[str(code)],
            signature=_signature(),
            pip_requirements=_requirements(),
            metadata={
                "class_names": list(predictor.class_names),
                "image_shape": list(predictor.image_shape),
                "fingerprint": facts.fingerprint,
            },
        )
    return logged.model_uri


def _signature() -> Any:
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema, TensorSpec
    from mlflow.types.schema import Array

    # of another type MLflow would cast what it is sent, floats from 0 to 1 to zeros; this one it passes on
    images = TensorSpec(np.dtype(object), (-1,), name=None)
    answers: list[ColSpec | TensorSpec] = [
        ColSpec(DataType.string, "class"),
        ColSpec(DataType.double, "probability"),
        ColSpec(Array(DataType.double), "probabilities"),
    ]
    return ModelSignature(inputs=Schema([images]), outputs=Schema(answers))


def _requirements() -> list[str]:
    from importlib.metadata import version

    return [f"{name}=={version(name).partition('+')[0]}" for name in REQUIREMENTS]


@remedies("train the cell first: `dvc repro`")
def main(
    model: Annotated[Path, typer.Option(help="The folder of a trained cell, models/.../seed1.")],
    onnx: Annotated[Path | None, typer.Option(help="Write an ONNX file here.")] = None,
    mlflow: Annotated[
        bool, typer.Option("--mlflow", help="Log a pyfunc model to MLflow, as `stages.track` does.")
    ] = False,
    weights: options.Weights = "last",
) -> None:
    """Export a trained cell to ONNX or MLflow."""
    if onnx is None and not mlflow:
        raise InputError("export", "nothing to export to", "give --onnx FILE, --mlflow, or both")
    if onnx is not None:
        write_onnx(model, weights, onnx)
    if mlflow:
        log_model(model, weights)
