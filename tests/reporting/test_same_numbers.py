"""Tables in every form (markdown, csv, page, MLflow, terminal), metrics and claims tell the same numbers.

A new way to show them adds a reader to `READERS`.
"""

import csv
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from longtail.config.layouts import read_layouts
from longtail.pipeline import paths
from longtail.pipeline.records import cell_records, seed_records
from longtail.pipeline.tracking import store_uri
from longtail.reporting.accuracy import SPLITS
from longtail.reporting.table_text import symbols
from longtail.reporting.tables import fill
from tests.support import report_fixtures as fixtures
from tests.support.stage_runs import run_stage

# MLflow and sqlalchemy deprecate each other
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

LAYOUTS = {layout.number: layout for layout in read_layouts().tables}
Place = tuple[int, str, str, str, str]
"""Table, row group, row, imbalance, and what is shown there: a split, `difference` (over all), or
`difference few`."""
MARKS = {"better": " ▲", "worse": " ▼", "undecided": ""}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study with tables, claims, figures and page; what a stage said is in `tabulate.txt` and so on."""
    folder = tmp_path_factory.mktemp("study")
    fixtures.evaluate(folder, fixtures.build(folder, variants=fixtures.SOME))
    for stage in ("tabulate", "plot", "page", "track"):
        result = run_stage(folder, stage)
        assert result.code == 0, result.stderr
        (folder / f"{stage}.txt").write_text(result.stdout, encoding="utf-8")
    return folder


def report(folder: Path, name: str) -> Path:
    return folder / paths.report(fixtures.BENCHMARK, name)


def csv_rows(folder: Path, name: str) -> list[dict[str, str]]:
    with report(folder, name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def expected(folder: Path) -> dict[Place, str]:
    """What should be shown, from the csv of each table."""
    found: dict[Place, str] = {}
    for number in LAYOUTS:
        for line in csv_rows(folder, f"table{number}.csv"):
            if line["weights"] != "last" or not line["mean"]:
                continue
            place = (number, line["group"], line["row"], line["imbalance"])
            half = (float(line["high"]) - float(line["low"])) / 2
            found[*place, line["split"]] = f"{float(line['mean']):.1f} ± {half:.1f}"
            kind = "difference" if line["split"] == "all" else f"difference {line['split']}"
            found[*place, kind] = "reference"
            if line["vs_reference"]:
                half = (float(line["vs_high"]) - float(line["vs_low"])) / 2
                mean = round(float(line["vs_reference"]), 1) + 0.0
                found[*place, kind] = f"{mean:+.1f} ± {half:.1f}{MARKS[line['word']]}"
    return found


def from_markdown(folder: Path) -> dict[Place, str]:
    found: dict[Place, str] = {}
    for number, layout in LAYOUTS.items():
        lines = [
            line for line in report(folder, f"table{number}.md").read_text().splitlines() if line[:1] == "|"
        ]
        rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
        imbalances = ["50", "10"] if layout.columns == "imbalances" else ["50"]
        kinds = [*layout.splits, "difference"]
        labels = {symbols(row.label): row.label for row in layout.rows}
        group = ""
        for first, *cells in rows[3:]:
            if first.startswith("*"):
                group = first.strip("*")
                continue
            numbers = cells[len(layout.flags) :]
            for index, imbalance in enumerate(imbalances):
                part = numbers[index * len(kinds) : (index + 1) * len(kinds)]
                for kind, text in zip(kinds, part, strict=True):
                    if re.search(r"\d|reference", text):
                        found[number, group, labels[first], imbalance, kind] = text
    return found


def from_terminal(folder: Path) -> dict[Place, str]:
    """Table 1: all, few and the difference."""
    found: dict[Place, str] = {}
    group, groups = "", {group.name for group in LAYOUTS[1].groups}
    for line in (folder / "tabulate.txt").read_text(encoding="utf-8").splitlines():
        if line in groups:
            group = line
        elif group and line.startswith("  "):
            row, *cells = re.split(r"\s{2,}", line.strip())
            for cell, (imbalance, kind) in zip(
                cells, [(i, k) for i in ("50", "10") for k in ("all", "few", "difference")], strict=True
            ):
                found[1, group, row, imbalance, kind] = cell
    return found


class Cells(HTMLParser):
    """The cells of the page's tables that have numbers, by the attributes of headings and rows."""

    def __init__(self) -> None:
        super().__init__()
        self.number, self.place, self.inside = 0, -1, ""
        self.headings: list[dict[str, str | None]] = []
        self.row: dict[str, str | None] = {}
        self.found: dict[Place, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        if tag == "section":
            identity = attributes.get("id") or ""
            self.number = int(identity[5:]) if re.fullmatch(r"table\d", identity) else 0
            self.headings = []
        elif tag == "tr":
            self.row, self.place = attributes, -1
        elif tag in ("th", "td"):
            self.inside, self.place = tag, self.place + 1
            if tag == "th" and not self.row:
                self.headings.append(attributes)

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    def handle_data(self, data: str) -> None:
        if (
            self.number
            and self.inside == "td"
            and "data-row" in self.row
            and re.search(r"\d|reference", data)
        ):
            heading = self.headings[self.place]
            if (kind := heading.get("data-kind")) and (split := heading["data-split"]):
                shown = split if kind == "here" else kind if split == "all" else f"{kind} {split}"
                group, row = str(self.row["data-group"]), str(self.row["data-row"])
                self.found[self.number, group, row, str(heading["data-imbalance"]), shown] = data


def from_page(folder: Path) -> dict[Place, str]:
    cells = Cells()
    cells.feed(report(folder, "index.html").read_text(encoding="utf-8"))
    return cells.found


def from_mlflow(folder: Path) -> dict[Place, str]:
    """The means over seeds, as they are in the database."""
    from mlflow.tracking import MlflowClient

    found: dict[Place, str] = {}
    client = MlflowClient(store_uri(folder / "mlruns"))
    for number in LAYOUTS:
        experiment = client.get_experiment_by_name(f"{fixtures.BENCHMARK} · Table {number}")
        assert experiment is not None
        for run in client.search_runs([experiment.experiment_id], "params.seeds = '1, 2, 3'"):
            tags, metrics = run.data.tags, run.data.metrics
            place = (number, tags["row_group"], tags["row"], run.data.params["imbalance"])
            for split in SPLITS:
                if f"acc_{split}" in metrics:
                    found[*place, split] = f"{metrics[f'acc_{split}']:.1f} ± {metrics[f'ci95_{split}']:.1f}"
            if difference := tags["vs_reference"].replace("±", " ± "):
                found[*place, "difference"] = re.sub(r"^([▲▼]) (.*)$", r"\2 \1", difference)
    return found


READERS: dict[str, Callable[[Path], dict[Place, str]]] = {
    "markdown": from_markdown,
    "terminal": from_terminal,
    "page": from_page,
    "mlflow": from_mlflow,
}
"""What each way of showing the tables shows; each at least as many places as `FEWEST`."""
FEWEST = 80


@pytest.mark.parametrize("reader", READERS)
def test_what_is_shown_is_what_the_csv_says(folder: Path, reader: str) -> None:
    wanted, found = expected(folder), READERS[reader](folder)
    assert len(found) >= FEWEST
    assert {place: wanted.get(place) for place in found} == found
    over_all = {place for place in wanted if not place[-1].startswith("difference ")}
    everything = {"page": wanted.keys(), "markdown": over_all, "mlflow": over_all}
    if reader in everything:
        assert found.keys() == everything[reader]


def test_metrics_are_the_means_of_the_first_table(folder: Path) -> None:
    metrics = json.loads(report(folder, "metrics.json").read_text())
    seen = 0
    for line in csv_rows(folder, "table1.csv"):
        if line["weights"] == "last" and line["mean"] and line["split"] in ("all", "few"):
            name = "+".join(filter(None, (line["variant"], line["head"])))
            assert metrics[f"imb{line['imbalance']}"][name][line["split"]] == pytest.approx(
                float(line["mean"])
            )
            seen += 1
    assert seen == sum(len(means) for column in metrics.values() for means in column.values())


def test_claims_have_the_differences_of_the_tables(folder: Path) -> None:
    table = {
        (line["imbalance"], line["variant"]): line
        for line in csv_rows(folder, "table4.csv")
        if line["split"] == "all" and line["weights"] == "last" and line["vs_reference"]
    }
    seen = 0
    for claim in csv_rows(folder, "claims.csv"):
        place = (claim["imbalance"], claim["than"])
        if claim["higher"] == "difficulty_net" and claim["measure"] == "accuracy" and place in table:
            line = table[place]
            for ours, theirs in (("difference", "vs_reference"), ("low", "vs_high"), ("high", "vs_low")):
                assert float(claim[ours]) == pytest.approx(-float(line[theirs]), rel=1e-5)
            assert claim["p"] == line["p"]
            seen += 1
    assert seen >= 6


def test_mlflow_gets_the_seeds_behind_the_means(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    plan, reports = fixtures.read(Path())
    cells = cell_records(plan, reports, [])
    records = seed_records(fill(LAYOUTS[1], plan, reports), reports, [], cells)
    seen = 0
    for line in csv_rows(folder, "table1.csv"):
        if line["weights"] == "last" and line["mean"]:
            values = [
                record.metrics[f"acc_{line['split']}"]
                for record in records
                if (record.identity["row"], record.params["imbalance"]) == (line["row"], line["imbalance"])
            ]
            assert np.mean(values) == pytest.approx(float(line["mean"]), abs=1e-3)
            assert str(len(values)) == line["seeds"]
            seen += 1
    assert seen > 100
