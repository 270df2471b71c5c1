"""What is committed under results/ is still understood."""

import shutil
from pathlib import Path

import pytest

from tests.support.stage_runs import run_stage

FOLDERS = sorted(path for path in (Path(__file__).parents[1] / "results").iterdir() if path.is_dir())


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_committed_results_make_the_committed_tables_anew(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "results"
    shutil.copytree(folder, copy)
    made = 0
    for reports in sorted((copy / "reports").iterdir()):
        made_here = ("table*", "claims*", "metrics.json")
        before = {path: path.read_bytes() for name in made_here for path in reports.glob(name)}
        for path in before:
            path.unlink()
        words = ("--benchmark", reports.name, "--partial", "--results", "results")
        found = run_stage(tmp_path, "tabulate", *words)
        assert found.code == 0, found.stderr
        assert {path: path.read_bytes() for path in before} == before
        made += len(before)
    assert made > 1
