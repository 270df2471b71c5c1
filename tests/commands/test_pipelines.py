"""The pipelines of the other benchmarks are that of the root, and do not drift from it."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from longtail.commands import pipelines
from longtail.config.benchmarks import find_benchmark
from longtail.config.layouts import read_layouts
from longtail.config.params import read_params
from tests.support.stage_runs import ROOT, run_stage

SOURCE = (ROOT / "dvc.yaml").read_text(encoding="utf-8")


def test_what_lies_there_is_what_the_roots_pipeline_makes() -> None:
    for benchmark, folder in pipelines.BENCHMARKS.items():
        path = ROOT / folder / "dvc.yaml"
        assert path.read_text(encoding="utf-8") == pipelines.pipeline(benchmark, SOURCE)


@pytest.mark.parametrize("benchmark", pipelines.BENCHMARKS)
def test_such_a_pipeline_has_the_roots_stages_on_its_own_files(benchmark: str) -> None:
    root = yaml.safe_load(SOURCE)["stages"]
    made = yaml.safe_load(pipelines.pipeline(benchmark, SOURCE))["stages"]
    layouts = read_layouts()
    assert list(made) == list(root)
    for name, stage in made.items():
        assert (ROOT / pipelines.BENCHMARKS[benchmark] / stage["wdir"]).resolve() == ROOT
        assert stage["cmd"] == f"{root[name]['cmd']} --benchmark {benchmark}"
        assert "digits" not in str(stage)
        paths = [*stage.get("outs", []), *stage.get("metrics", [])]
        paths = [path if isinstance(path, str) else next(iter(path)) for path in paths]
        assert all(path.split("/")[1] == benchmark for path in paths)
        source = find_benchmark(benchmark).source
        figures = {figure.number for figure in layouts.of(benchmark).figures}
        lacking = [f for f in layouts.figures if f.number not in figures] if name == "page" else []
        assert len(stage["deps"]) == len(root[name]["deps"]) - len(lacking)
        assert all(
            (ROOT / path).exists() for path in stage["deps"] if path.startswith(("longtail", "stages"))
        )
        array = f"data/{benchmark}/images.npy"
        assert (array in str(stage)) == ("images.npy" in str(root[name]) and source != "listed")


@pytest.mark.parametrize("benchmark", pipelines.BENCHMARKS)
def test_it_makes_the_papers_tables_of_that_benchmark_and_their_variants(benchmark: str) -> None:
    made = yaml.safe_load(pipelines.pipeline(benchmark, SOURCE))
    layouts = read_layouts().of(benchmark)
    tables = [f"reports/{benchmark}/table{table.number}.md" for table in layouts.tables]
    claims = f"reports/{benchmark}/claims.md"
    assert [out for out in made["stages"]["tabulate"]["outs"] if out.endswith(".md")] == [claims, *tables]
    assert benchmark in read_params(ROOT / "params.yaml").imbalances


@pytest.mark.parametrize("benchmark", pipelines.BENCHMARKS)
def test_dvc_finds_the_stages_of_each_imbalance(benchmark: str) -> None:
    file = f"{pipelines.BENCHMARKS[benchmark]}/dvc.yaml"
    command = [sys.executable, "-m", "dvc", "stage", "list", "--name-only", file]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert listed.returncode == 0, listed.stderr
    found = {line.split(":")[-1] for line in listed.stdout.split()}
    names = ("subsample", "extract_meta", "represent", "retrain", "evaluate")
    imbalances = read_params(ROOT / "params.yaml").imbalances_of(benchmark)
    expected = {f"{name}@{imbalance:g}" for name in names for imbalance in imbalances}
    assert found == expected | {"plan", "prepare", "tabulate", "plot", "page", "track"}


def test_the_papers_figures_are_of_cifar_alone() -> None:
    made = yaml.safe_load(pipelines.pipeline("imagenet-lt", SOURCE))
    assert made["stages"]["plot"]["outs"] == ["reports/imagenet-lt/curves.csv"]


def test_a_pipeline_that_drifted_is_named(tmp_path: Path) -> None:
    (tmp_path / "dvc.yaml").write_text(SOURCE)
    assert run_stage(tmp_path, "pipelines").code == 0
    assert run_stage(tmp_path, "pipelines", "--check").code == 0
    path = tmp_path / "paper" / "cifar100-lt" / "dvc.yaml"
    path.write_text(path.read_text().replace("page", "pages"))
    checked = run_stage(tmp_path, "pipelines", "--check")
    assert checked.code == 2
    assert "paper/cifar100-lt/dvc.yaml: not what dvc.yaml makes it" in checked.stderr
    assert "pages" in path.read_text()
