"""Errors about files that a stage makes end with the command that makes them again."""

from pathlib import Path

import pytest

from longtail.errors import InputError
from longtail.pipeline import paths
from longtail.pipeline.remedies import remedies, remedy_for

CELL = ("digits-lt", 50.0, "cross_entropy", "seed1")


@pytest.mark.parametrize(
    ("path", "stage"),
    [
        (paths.pool("digits-lt"), "prepare"),
        (paths.images("digits-lt"), "prepare"),
        (paths.train_manifest("digits-lt", 50), "subsample"),
        (paths.meta_manifest("digits-lt", 50), "extract_meta"),
        (paths.plan("digits-lt", 50, "focal"), "plan"),
        (paths.evaluation_plan("digits-lt", 50), "plan"),
        (paths.tables_plan("digits-lt"), "plan"),
    ],
)
def test_data_is_made_again_by_its_stage(path: Path, stage: str) -> None:
    assert remedy_for(path) == remedy_for(Path("/a/clone") / path) == f"`dvc repro {stage}` makes it again"


@pytest.mark.parametrize("path", [paths.model(*CELL), paths.cell_report(*CELL), paths.finished("ab")])
def test_models_and_reports_are_made_by_the_pipeline(path: Path) -> None:
    assert remedy_for(path) == "run `dvc repro`"


def test_no_stage_makes_other_files() -> None:
    assert remedy_for(Path("images/cat.png")) is None
    assert remedy_for(Path("pool.parquet")) is None


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (InputError("a.png", "damaged", "replace it"), "a.png: damaged; replace it"),
        (InputError(Path("models/x/cell.json"), "damaged"), "models/x/cell.json: damaged; run `dvc repro`"),
        (InputError(Path("a.png"), "damaged"), "a.png: damaged; ask someone"),
        (InputError("reports", "damaged"), "reports: damaged; ask someone"),
    ],
)
def test_a_remedy_is_added_where_there_is_none(error: InputError, line: str) -> None:
    with pytest.raises(InputError) as caught, remedies("ask someone"):
        raise error
    assert str(caught.value) == line


@pytest.mark.parametrize(
    "room",
    [
        "reporting",
        "inference",
        "running",
        "planning",
        "methods",
        "training",
        "meta",
        "data",
        "networks",
        "config",
    ],
)
def test_the_rooms_below_the_pipeline_do_not_speak_of_its_tools(room: str) -> None:
    for path in sorted(Path(paths.__file__).parents[1].joinpath(room).rglob("*.py")):
        if path.name == "repository.py":  # which says where the repository is, and its cache
            continue
        text = path.read_text(encoding="utf-8").lower()
        found = [word for word in ("dvc", "mlflow", "typer", "python -m stages") if word in text]
        assert not found, path
