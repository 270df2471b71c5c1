"""The console command from a wheel, in a folder that is no repository."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support import trained_cells
from tests.support.stage_runs import ROOT

BUILD = "import sys; from setuptools.build_meta import build_wheel; print(build_wheel(sys.argv[1]))"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked wheel."""
    pytest.importorskip("setuptools", reason="setuptools builds the wheel")
    source, built, unpacked = (tmp_path_factory.mktemp(name) for name in ("source", "built", "unpacked"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "longtail", source / "longtail", ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-c", BUILD, str(built)]
    done = subprocess.run(command, cwd=source, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (found,) = built.glob("*.whl")
    zipfile.ZipFile(found).extractall(unpacked)
    return unpacked


def longtail(wheel: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """`longtail` with the code of the wheel; it fails if the code is another."""
    program = f"import longtail.commands as c; assert c.__file__.startswith({str(wheel)!r}); c.main()"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DVC_")}
    environment["PYTHONPATH"] = str(wheel)
    return subprocess.run(
        [sys.executable, "-c", program, *words],
        cwd=folder,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
    )


def test_the_wheel_has_the_library_and_its_data_and_nothing_else(wheel: Path) -> None:
    names = {path.name for path in wheel.iterdir()}
    assert names == {"longtail", "longtail-0.1.0.dist-info"}
    for name in (
        "config/tables.yaml",
        "config/claims.yaml",
        "reporting/paper_numbers.csv",
        "reporting/page/templates/page.html.jinja",
    ):
        assert (wheel / "longtail" / name).is_file()
    entry_points = (wheel / "longtail-0.1.0.dist-info" / "entry_points.txt").read_text()
    assert "longtail = longtail.commands:main" in entry_points


def test_help_names_every_command(wheel: Path, tmp_path: Path) -> None:
    for words in ([], ["--help"]):
        done = longtail(wheel, tmp_path, *words)
        assert done.returncode == 0, done.stderr
        for name in ("compare", "doctor", "export", "pipelines", "predict", "report", "reproduce", "ui"):
            assert f"\n  {name} " in done.stdout
        assert "..." not in done.stdout.partition("Commands:")[2]  # a summary that is cut


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["predic", "x"], "error: longtail predic: no such command; did you mean 'predict'?"),
        (["ui"], "no params.yaml here; run this in a clone of the repository"),
        (["reproduce"], "error: params.yaml: no such file; run from the folder that holds it"),
        (["pipelines"], "error: dvc.yaml: no such file; run from the folder that holds it"),
    ],
)
def test_what_needs_a_repository_says_so_in_one_line(
    wheel: Path, tmp_path: Path, words: list[str], line: str
) -> None:
    done = longtail(wheel, tmp_path, *words)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert line in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_trained_cell_predicts_anywhere(wheel: Path, tmp_path: Path) -> None:
    cell = trained_cells.train(tmp_path, "cross_entropy", iterations=2)
    image = tmp_path / "image.png"
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(image)
    done = longtail(wheel, tmp_path, "predict", "--model", str(cell), str(image))
    assert done.returncode == 0, done.stderr
    assert "image.png" in done.stdout
