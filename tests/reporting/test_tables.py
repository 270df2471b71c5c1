import csv
import io
import re
from functools import partial

import numpy as np
import pytest

from longtail.config.benchmarks import DIGITS_LT
from longtail.config.layouts import read_layouts
from longtail.errors import InputError
from longtail.pipeline import paths
from longtail.planning.plans import TablesPlan
from longtail.reporting import table_text, tables
from longtail.reporting.comparisons import Difference, Judgement
from longtail.reporting.intervals import Interval
from longtail.reporting.reports import CellReport, read_reports
from tests.support import report_fixtures as fixtures

LAYOUTS = {layout.number: layout for layout in read_layouts().tables}


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> tuple[TablesPlan, list[CellReport]]:
    folder = tmp_path_factory.mktemp("study")
    fixtures.evaluate(folder, fixtures.build(folder, variants=fixtures.SOME))
    return fixtures.read(folder)


def rows_of(markdown: str) -> list[list[str]]:
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_a_row_holds_the_mean_and_t_interval_of_its_own_cells(study):
    plan, reports = study
    values = [
        report.accuracy["few"]
        for report in reports
        if (report.variant, report.head, report.imbalance) == ("difficulty_net", "lws", 50)
    ]
    assert len(values) == 3
    table = tables.fill(LAYOUTS[1], plan, reports)
    entry = table.entries["decoupled learning", "Ours + LWS"][0]
    assert entry is not None
    interval = entry["few"]
    assert interval is not None
    assert interval.mean == pytest.approx(np.mean(values))
    assert interval.half_width == pytest.approx(4.302653 * np.std(values, ddof=1) / np.sqrt(3), rel=1e-6)
    row = next(row for row in rows_of(table_text.markdown(table)) if row[0] == "Ours + LWS")
    assert row[4] == f"{interval.mean:.1f} ± {interval.half_width:.1f}"


def test_heads_and_variants_do_not_mix(study):
    plan, reports = study
    table = tables.fill(LAYOUTS[1], plan, reports)
    # CDB-CE, Ours and its sum with Balanced Softmax; four heads and three of Ours; four controls; nine heads
    # chosen on the meta set
    found = [entries[0] for entries in table.entries.values() if entries[0]]
    assert len(found) == 23
    assert len({tuple(own.mean for own in entry.values() if own) for entry in found}) == 23


@pytest.mark.parametrize("number", LAYOUTS)
def test_not_planned_are_exactly_the_rows_without_planned_cells(study, number):
    markdown = table_text.markdown(tables.fill(LAYOUTS[number], *study))
    shown = {row[0]: " ".join(row[1:]) for row in rows_of(markdown)[3:] if not row[0].startswith("*")}
    waiting = {label for label, cells in shown.items() if "not planned" in cells}
    rows = LAYOUTS[number].rows
    planned = {(bundle.variant, member.head) for bundle in study[0].bundles for member in bundle.members}
    empty = [row for row in rows if (row.variant, row.head) not in planned]
    assert waiting == {table_text.symbols(row.label) for row in empty if not row.copied}
    assert len(shown) == len(rows)
    for row in empty:  # no number of anybody's stands there
        assert not re.search(r"\d", shown[table_text.symbols(row.label)])


def test_copied_rows_say_so(study):
    markdown = table_text.markdown(tables.fill(LAYOUTS[1], *study))
    assert [row[1] for row in rows_of(markdown) if row[0] == "PaCo + Bal. Softmax †"] == ["†"]
    assert "† copied in the paper, not run here" in markdown


def test_columns_are_the_papers(study):
    headers = {n: rows_of(table_text.markdown(tables.fill(LAYOUTS[n], *study))) for n in LAYOUTS}
    four, difference = ["**All**", "**Many**", "**Med**", "**Few**"], "**All − Cross-entropy**"
    for number in (1, 5):
        assert headers[number][0] == ["Method", "Imbalance 50", *[""] * 4, "Imbalance 10", *[""] * 4]
        assert headers[number][2][1:] == [*four, difference] * 2
    assert headers[2][0] == ["Method", "digits_resnet", "", "", "", ""]
    assert headers[3][2][1:] == [*four[1:], four[0], difference]
    assert headers[4][2][-1] == "**All − #9 Ours**"
    assert headers[4][0][:6] == ["Method", "S/C", "A/R", "ML", "L_dr", "Imbalance 50"]


@pytest.mark.parametrize("number", LAYOUTS)
def test_markdown_is_aligned(study, number):
    markdown = table_text.markdown(tables.fill(LAYOUTS[number], *study))
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    assert len({len(line) for line in lines}) == 1
    assert len({tuple(i for i, letter in enumerate(line) if letter == "|") for line in lines}) == 1


def test_conditions_stand_below_the_table(study):
    markdown = table_text.markdown(tables.fill(LAYOUTS[1], *study))
    for fact in (
        "Benchmark digits-lt, network digits_resnet; ",
        f"{DIGITS_LT.represent.iterations} iterations end to end, "
        f"{DIGITS_LT.retrain.iterations} for retrained classifiers; accuracy of the weights after the last",
        "3 seeds (1, 2, 3) ± half-width of the two-sided 95% Student t interval",
        f"Imbalance 50: N = {sum(fixtures.counts(50))} training images, n_max = 114, n_min = 2;",
        "2 many, 3 medium, 5 few-shot",
        "Shot groups (kang): many n > 60, few n < 20",
        "Ours: λ = 0.3.",
    ):
        assert fact in markdown
    assert "shortened" not in markdown


def test_a_setting_without_effect_is_said_once_for_each_imbalance(study):
    plan, reports = study
    assert not any(table_text.remarks(plan.benchmark, [report]) for report in reports)
    settings = {"gamma": 0.9, "threshold": 0.001, "draw": "element"}
    idle = [
        report.model_copy(update={"method": "eql", "settings": settings}) if report.head is None else report
        for report in reports
    ]
    found = table_text.remarks(plan.benchmark, idle)
    assert [text.partition(" makes")[0] for text in found] == [
        "Imbalance 50: threshold 0.001",
        "Imbalance 10: threshold 0.001",
    ]
    assert all(text.endswith("so eql is plain cross-entropy.") for text in found)
    table = tables.fill(LAYOUTS[1], plan, idle)
    assert all(f"- {text}\n" in table_text.markdown(table) for text in found)


def test_a_shortened_schedule_is_said_in_the_title(study):
    plan, reports = study
    short = plan.model_copy(update={"schedule_fraction": 0.1})
    title = table_text.markdown(tables.fill(LAYOUTS[5], short, reports)).splitlines()[0]
    assert title.endswith("digits-lt, schedules shortened to 0.1 of full length")


def test_what_is_not_the_benchmarks_own_schedule_is_said_in_the_title_and_below(study):
    plan, reports = study
    changed = plan.model_copy(update={"length": 180, "unit": "epochs", "batch_size": 32})
    words = "networks trained for 180 epochs in batches of 32"
    text = table_text.markdown(tables.fill(LAYOUTS[5], changed, reports))
    assert text.splitlines()[0].endswith(f"digits-lt, {words}")
    assert f"iterations end to end, {words}; accuracy of the weights" in text
    both = table_text.markdown(
        tables.fill(LAYOUTS[5], changed.model_copy(update={"schedule_fraction": 0.1}), reports)
    )
    assert both.splitlines()[0].endswith(f"{words}, schedules shortened to 0.1 of full length")
    assert "networks trained" not in table_text.markdown(tables.fill(LAYOUTS[5], plan, reports))


def test_the_number_of_ranks_is_said_below_the_table(study):
    plan, reports = study
    bare = next(report for report in reports if report.head is None)
    head = next(report for report in reports if report.head is not None)
    changed = [bare.model_copy(update={"ranks": 8}), head.model_copy(update={"features_ranks": 8})]
    assert table_text.ranks_notes(reports) == []
    said = [f"{bare.variant}, the features of {head.variant}-{head.head}"]
    assert table_text.ranks_notes(changed) == [
        f"Trained by 8 ranks, each with BatchNorm statistics of its own images: {said[0]}."
    ]
    several = [report.model_copy(update={"ranks": 8}) for report in reports]
    markdown = table_text.markdown(tables.fill(LAYOUTS[1], plan, several))
    assert "Trained by 8 ranks, each with BatchNorm statistics of its own images: " in markdown


def test_another_precision_is_said_below_the_table(study):
    plan, reports = study
    rounded = plan.model_copy(update={"precision": "tf32"})
    markdown = table_text.markdown(tables.fill(LAYOUTS[5], rounded, reports))
    assert "end to end, computed in tf32; accuracy" in markdown
    assert "computed in" not in table_text.markdown(tables.fill(LAYOUTS[5], plan, reports))


def test_csv_is_long_and_holds_every_row(study):
    table = tables.fill(LAYOUTS[4], *study)
    rows = list(csv.DictReader(io.StringIO(tables.long_csv(table))))
    assert len(rows) == 9 * 2 * 4 * 2
    names = "table,group,row,variant,head,imbalance,network,split,weights,mean,low,high,seeds,status"
    compared = ["vs_reference", "vs_low", "vs_high", "vs_seeds", "p", "p_holm", "word", "p_mcnemar"]
    paper = ["paper", "difference", "tolerance", "verdict"]
    assert list(rows[0]) == [*names.split(","), *paper, "reference", *compared]
    assert not {row[name] for row in rows for name in ("paper", "difference", "tolerance", "verdict")} - {""}
    ours = [row for row in rows if (row["row"], row["imbalance"], row["split"]) == ("#9 Ours", "10", "all")]
    assert [row["weights"] for row in ours] == ["last", "selected"]
    for row, entries in zip(ours, (table.entries, table.selected), strict=True):
        entry = entries["ablation", "#9 Ours"][1]
        assert entry is not None
        interval = entry["all"]
        assert interval is not None
        numbers = [float(row[name]) for name in ("mean", "low", "high", "seeds")]
        assert numbers == pytest.approx([interval.mean, interval.low, interval.high, 3], abs=1e-4)
    assert ours[0]["mean"] != ours[1]["mean"]
    waiting = [row for row in rows if row["row"] == "#1 Focal loss"]
    assert {(row["mean"], row["seeds"], row["status"]) for row in waiting} == {("", "0", "not planned")}


def test_metrics_have_the_means_of_the_headline_table(study):
    _, reports = study
    found = tables.metrics(tables.fill(LAYOUTS[1], *study))
    assert set(found) == {"imb50", "imb10"}
    assert set(found["imb50"]) == set(found["imb10"])
    assert {"difficulty_net", "difficulty_net+crt", "balanced_softmax"} <= set(found["imb10"])
    assert "difficulty_net_lambda_0.3" not in found["imb10"]
    values = [r.accuracy["all"] for r in reports if r.cell.startswith("imb10-cross_entropy-las-")]
    assert found["imb10"]["cross_entropy+las"]["all"] == pytest.approx(np.mean(values), abs=1e-4)


def test_headline_has_all_and_few_of_the_filled_rows_in_even_columns(study):
    lines = table_text.headline(tables.fill(LAYOUTS[1], *study)).splitlines()
    names = [
        *("imb 50 All", "imb 50 Few", "All − Cross-entropy"),
        *("imb 10 All", "imb 10 Few", "All − Cross-entropy"),
    ]
    assert re.split(r"\s{2,}", lines[0].strip()) == names
    filled = [line for line in lines[1:] if line.startswith("  ")]
    assert len(filled) == 23
    assert len({len(line) for line in filled}) == 1
    assert next(line for line in filled if "Cross-entropy" in line).endswith("reference")
    assert lines[-1].startswith("All − Cross-entropy: paired by seed; ▲ better, ▼ worse")


def test_one_seed_and_an_empty_group_are_shown_as_such(tmp_path):
    # at imbalance 4 the smallest class has 28 images: no few-shot class
    chosen = fixtures.params(imbalances=(4,), seeds=(7,))
    fixtures.evaluate(tmp_path, fixtures.build(tmp_path, chosen, ("difficulty_net",)))
    table = tables.fill(LAYOUTS[1], *fixtures.read(tmp_path))
    markdown = table_text.markdown(table)
    row = next(row for row in rows_of(markdown) if row[0] == "Ours")
    assert "±" not in "".join(row)
    assert row[4] == "–"
    assert "From 1 seed (7), so without an interval." in markdown
    assert "few" not in tables.metrics(table)["imb4"]["difficulty_net"]
    assert next(row for row in rows_of(markdown) if row[0] == "cRT")[1] == "not planned"
    assert "not planned: the plan of this run has no such row." in markdown


def test_a_difference_shows_its_interval_its_mark_and_how_many_seeds():
    def shown(word: str, seeds: int = 3, mcnemar: float | None = None, mean: float = 2.66) -> str:
        width = None if seeds == 1 else 0.94
        found = Judgement(Difference(Interval(mean, width, seeds), 0.01), 0.01, word, mcnemar)
        return table_text.signed(found, seeds=3 if seeds > 1 else 1)

    assert shown("better") == "+2.7 ± 0.9 ▲"
    assert shown("worse", mean=-2.66) == "-2.7 ± 0.9 ▼"
    assert shown("undecided", seeds=2) == "+2.7 ± 0.9 (2 of 3 seeds)"
    assert shown("undecided", seeds=1, mcnemar=0.0314) == "+2.7 (p = 0.031)"
    assert shown("undecided", seeds=1, mcnemar=1e-9, mean=-0.01) == "+0.0 (p < 0.001)"
    assert table_text.signed(None, 3) == ""


def test_the_differences_of_a_table_stand_in_it_and_the_note_says_how_to_read_them(study):
    plan, reports = study
    table = tables.fill(LAYOUTS[4], plan, reports)
    text = table_text.markdown(table)
    row = next(row for row in rows_of(text) if row[0].startswith("#6"))
    found = table.differences["ablation", "#6 Ours w/o L_dr"]
    assert [row[9], row[14]] == [table_text.signed(column["all"] if column else None, 3) for column in found]
    assert [row[9] for row in rows_of(text) if row[0] == "#9 Ours"] == ["reference"]
    assert "Paired by seed" in text
    assert "McNemar" not in text
    one = table_text.markdown(tables.fill(LAYOUTS[4], plan, [r for r in reports if r.seed == 2]))
    assert "Paired by seed" not in one
    assert "two single trainings has no interval and is undecided. In brackets: p of McNemar's exact" in one
    assert re.fullmatch(
        r"[+-]\d+\.\d \(p [=<] [\d.]+\)", next(r for r in rows_of(one) if r[0][:2] == "#6")[9]
    )
    old = [r.model_copy(update={"correct": None}) for r in reports if r.seed == 2]
    text = table_text.markdown(tables.fill(LAYOUTS[4], plan, old))
    assert "McNemar" not in text
    assert "two single trainings has no interval" in text
    none = [report for report in reports if report.variant != "difficulty_net"]
    assert "No differences to #9 Ours" in table_text.markdown(tables.fill(LAYOUTS[4], plan, none))


def test_selected_weights_stand_by_themselves(study):
    plan, reports = study
    cells = [r for r in reports if r.cell.startswith("imb50-difficulty_net-seed")]
    table = tables.fill(LAYOUTS[1], plan, reports)
    for entries, scores in ((table.entries, cells), (table.selected, [cell.selected for cell in cells])):
        entry = entries["e2e training", "Ours"][0]
        assert entry is not None
        values = [score.accuracy["few"] or 0.0 for score in scores]
        assert entry["few"] == tables.mean_interval(values)
    assert table.entries["e2e training", "Ours"] != table.selected["e2e training", "Ours"]


def test_model_path_is_asked_for_every_planned_cell(study, tmp_path):
    plan, _ = study
    asked = []
    report_path = partial(paths.cell_report, fixtures.BENCHMARK)
    with pytest.raises(InputError, match="no such report, but the plan names it"):
        read_reports(plan, lambda *cell: asked.append(cell) or tmp_path / report_path(*cell), report_path)
    assert asked == [(50, plan.bundles[0].bundle, "seed1")]
