"""Trained cells elsewhere: in ONNX Runtime, and in MLflow without this repository."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import numpy as np
import pytest
from PIL import Image

from longtail.commands.export import main
from longtail.errors import InputError
from longtail.inference import exports
from longtail.inference.predictors import load_predictor
from longtail.pipeline import tracking
from longtail.running.cell_folders import read_cell, write_cell_record
from tests.support.mlflow_servers import free_port, mlflow_server, server_process
from tests.support.names import NAMES
from tests.support.stage_runs import ROOT
from tests.support.trained_cells import train, unseen_images


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A head on a network, with difficult class names."""
    root = tmp_path_factory.mktemp("trained")
    train(root, "cross_entropy")
    folder = train(root, "cross_entropy", "disalign")
    write_cell_record(folder, read_cell(folder).model_copy(update={"class_names": list(NAMES)}))
    return folder


@pytest.fixture(scope="module")
def exported(head: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """An ONNX file of its selected weights, and what `export` said."""
    pytest.importorskip("onnx")
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    with redirect_stdout(StringIO()) as said:
        main(model=head, onnx=path, weights="selected")
    return path, said.getvalue()


def test_an_onnx_file_gives_the_logits_of_the_cell(exported: tuple[Path, str], head: Path) -> None:
    import onnx
    import onnxruntime

    path, said = exported
    assert float(re.findall(r"differ by at most (\S+) ", said)[0]) <= exports.TOLERANCE
    predictor = load_predictor(head, "selected")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for count in (1, 7, 500):
        images = unseen_images()[:count]
        (found,) = session.run(["logits"], {"images": images})
        np.testing.assert_allclose(np.asarray(found), predictor.logits(images), rtol=1e-5, atol=1e-4)
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(metadata["class_names"]) == list(NAMES)
    assert metadata["cell"] == "imb50-cross_entropy-disalign-seed1"
    assert str(Path(exports.__file__).parent) not in str(model)  # nothing of this machine


def test_the_trial_images_are_many_kinds_of_images() -> None:
    batches = list(exports.trial_images((32, 24, 3)))
    assert [len(batch) for batch in batches] == [1, 2, 64]
    assert all(batch.dtype == np.uint8 and batch.shape[1:] == (32, 24, 3) for batch in batches)
    last = batches[-1].astype(int)
    steps = np.abs(np.diff(last, axis=1)).mean(axis=(1, 2, 3))
    assert steps[:32].min() > 60 > 12 > steps[32:].max()  # noise, and what is smooth
    assert np.ptp(last.reshape(64, -1), axis=1).min() > 0


def test_an_export_that_does_not_agree_is_not_written(
    exported: tuple[Path, str], head: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The graph is that of other weights; or the logits are no numbers."""
    import onnx

    monkeypatch.setattr(exports, "_onnx_model", lambda predictor: onnx.load(exported[0]))
    (tmp_path / "model.onnx").write_text("old")
    right = load_predictor(head, "selected")
    off = right.model.network.head.beta.data  # type: ignore[union-attr]
    for shift in (1e-3, float("nan")):
        off += shift  # type: ignore[operator]
        with pytest.raises(InputError, match=r"not written: ONNX Runtime's logits differ by up to"):
            exports.export_onnx(right, tmp_path / "model.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    assert (tmp_path / "model.onnx").read_text() == "old"
    exports.export_onnx(load_predictor(head, "selected"), tmp_path / "model.onnx")
    assert (tmp_path / "model.onnx").read_bytes() == exported[0].read_bytes()


def test_an_export_that_cannot_begin_says_why(
    head: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="give --onnx FILE, --mlflow, or both"):
        main(model=head)
    with pytest.raises(InputError, match="a folder; give a file"):
        main(model=head, onnx=tmp_path)
    monkeypatch.setattr(exports, "PACKAGES", ("torch", "no_such_package"))
    with pytest.raises(InputError, match=r"no package no_such_package; .*pip install .*\[export\]"):
        main(model=head, onnx=tmp_path / "model.onnx")


LOAD = """
import json
import sys
import numpy as np
{line}
import longtail
answer = model.predict(np.load("images.npy"))
try:
    model.predict(np.zeros((1, 9, 9, 1), np.uint8))
except Exception as error:
    refused = str(error)
json.dump(
    {{
        "class": answer["class"].tolist(),
        "probability": answer["probability"].tolist(),
        "probabilities": np.stack(answer["probabilities"]).tolist(),
        "inputs": model.metadata.get_input_schema().to_dict(),
        "outputs": model.metadata.get_output_schema().input_names(),
        "library": longtail.__file__,
        "refused": refused,
    }},
    open("answer.json", "w"),
)
"""


@pytest.fixture
def clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a difficult name to work in, and MLflow as it was afterwards."""
    import mlflow

    from longtail.pipeline.tracking import IMPATIENT, QUIET

    names = (*QUIET, *IMPATIENT, "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "MLFLOW_TRACKING_URI")
    for name in names:
        monkeypatch.setenv(name, os.environ.get(name, ""))  # put back after the test
    for name in IMPATIENT:
        monkeypatch.delenv(name)  # empty is no number
    monkeypatch.delenv("DVC_ROOT", raising=False)
    folder = tmp_path / "it's a%2Fb? #1"
    folder.mkdir()
    monkeypatch.chdir(folder)
    before = mlflow.get_tracking_uri()
    yield folder
    mlflow.set_tracking_uri(before)


def answer_of_a_loaded_model(line: str) -> dict[str, Any]:
    """What the model says of the test images in a Python of its own, without the repository."""
    np.save("images.npy", unseen_images()[:40])
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", LOAD.format(line=line)],
        env={**environment, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(Path("answer.json").read_text())


def the_line_that_loads(output: str) -> str:
    (line,) = (line for line in output.splitlines() if line.startswith("import mlflow"))
    return line


@pytest.mark.filterwarnings("ignore")  # of MLflow and what it stands on
def test_a_logged_model_loads_by_the_printed_line_without_the_repository_and_predicts_the_same(
    head: Path, clean: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(model=head, mlflow=True)
    answer = answer_of_a_loaded_model(the_line_that_loads(capsys.readouterr().out))
    expected = load_predictor(head).probabilities(unseen_images()[:40])
    np.testing.assert_allclose(answer["probabilities"], expected, atol=1e-6)
    assert answer["class"] == [NAMES[index] for index in expected.argmax(axis=1)]
    np.testing.assert_allclose(answer["probability"], expected.max(axis=1), atol=1e-6)
    assert answer["inputs"] == [{"type": "tensor", "tensor-spec": {"dtype": "object", "shape": [-1]}}]
    assert answer["outputs"] == ["class", "probability", "probabilities"]
    assert "images of shape (1, 9, 9, 1); expected Nx8x8x1" in answer["refused"]
    assert not Path(answer["library"]).is_relative_to(ROOT)
    kept = {path.suffix for path in (clean / "mlruns").rglob("*") if "artifacts" in path.parts}
    assert not kept & {".pkl", ".pt", ".pth", ".pickle"}


@pytest.mark.filterwarnings("ignore")  # of MLflow and what it stands on
def test_a_served_model_answers_the_requests_of_the_page(
    head: Path, clean: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """MLflow serves no model below a folder with `%2F` in its name, so this one lies elsewhere."""
    monkeypatch.chdir(clean.parent)
    main(model=head, mlflow=True)
    line = the_line_that_loads(capsys.readouterr().out)
    store, model = re.findall(r"'([^']+)'", line)
    page = (ROOT / "docs" / "use_a_model.md").read_text(encoding="utf-8")
    (code,) = (code for code in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "/invocations" in code)
    images = unseen_images()[:9]
    Path("data/digits-lt").mkdir(parents=True)
    np.save("data/digits-lt/images.npy", images)
    Path("digits").mkdir()
    for number, image in enumerate(images):
        Image.fromarray(image[..., 0]).save(f"digits/{number}.png")
    port = free_port()
    words = ["models", "serve", "--model-uri", model, "--env-manager", "local", "--port", str(port)]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    expected = load_predictor(head).probabilities(images)
    with server_process(Path("log"), port, "/ping", *words):
        names: dict[str, Any] = {}
        exec(code.replace(":5001/", f":{port}/"), names)
        found = [row["probabilities"] for row in names["from_array"] + names["from_files"]]
        np.testing.assert_allclose(found, [*expected[:5], *expected], atol=1e-6)
        with pytest.raises(HTTPError) as refused:
            names["ask"]((images / 255).tolist())
        assert refused.value.code == 400
        assert "images of type float64; expected whole numbers 0 to 255" in refused.value.read().decode()


@pytest.mark.filterwarnings("ignore")  # of MLflow and what it stands on
def test_a_model_goes_to_the_server_that_the_variable_names(
    head: Path, clean: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    with mlflow_server(clean.parent / "server", port):
        main(model=head, mlflow=True)
    output = capsys.readouterr().out
    assert f"mlflow.set_tracking_uri('{address}')" in the_line_that_loads(output)
    assert f" in {address}; `longtail ui` shows it" in output
    logged = {path.read_bytes() for path in (clean.parent / "server" / "artifacts").rglob("*.safetensors")}
    assert (head / "weights.safetensors").read_bytes() in logged
    assert len(logged) == 2, "the head and the features that it stands on"
    assert not (clean / "mlruns" / "mlflow.db").exists()


@pytest.mark.filterwarnings("ignore")  # of MLflow and what it stands on
def test_a_server_that_is_away_is_one_line_that_says_what_to_do(
    head: Path, clean: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "PATIENCE", 0.0)
    address = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    with pytest.raises(InputError, match=rf"^{address}: API request .*; .* run the same command again$"):
        main(model=head, mlflow=True)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///elsewhere.db")
    with pytest.raises(
        InputError, match=r"MLFLOW_TRACKING_URI=sqlite:///elsewhere\.db: not a server; give its http"
    ):
        main(model=head, mlflow=True)
