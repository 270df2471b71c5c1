from dataclasses import replace

import numpy as np
import pytest

from longtail.config.layouts import Row, read_layouts
from longtail.pipeline import paths
from longtail.planning.plans import read_tables_plan
from longtail.reporting import figures
from longtail.reporting.figures.figure2 import min_max
from longtail.reporting.figures.figure4 import mean_absolute_change, middle_classes
from longtail.reporting.reports import read_reports
from longtail.reporting.study import Study, read_course
from tests.support import report_fixtures as fixtures

LAYOUTS = {layout.number: layout for layout in read_layouts().figures}


def read(folder) -> Study:
    def model(*cell):
        return folder / paths.model(fixtures.BENCHMARK, *cell)

    plan = read_tables_plan(folder / paths.tables_plan(fixtures.BENCHMARK))
    reports, _ = read_reports(
        plan, lambda *cell: folder / paths.cell_report(fixtures.BENCHMARK, *cell), model
    )
    members = [(b.imbalance, b.bundle, m.member) for b in plan.bundles for m in b.members]
    courses = [
        read_course(model(*cell) / "history.parquet", report)
        for cell, report in zip(members, reports, strict=True)
    ]
    return Study(plan, reports, {course.report.cell: course for course in courses})


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Study:
    folder = tmp_path_factory.mktemp("study")
    fixtures.evaluate(folder, fixtures.build(folder, variants=fixtures.SOME))
    return read(folder)


def records(drawing) -> list[dict]:
    header, *rows = drawing.rows
    return [dict(zip(header, row, strict=True)) for row in rows]


def texts(drawing) -> str:
    from matplotlib.text import Text

    return " ".join(text.get_text() for text in drawing.figure.findobj(Text)).replace("\n", " ")


@pytest.mark.parametrize("number", LAYOUTS)
def test_the_same_numbers_give_the_same_bytes(study, number):
    first = figures.render(figures.draw(LAYOUTS[number], study))
    second = figures.render(figures.draw(LAYOUTS[number], study))
    assert first == second
    assert first["png"].startswith(b"\x89PNG")
    assert b"<dc:date>" not in first["svg"]


LONG = {"length": 12_800, "unit": "epochs", "batch_size": 512, "schedule_fraction": 0.05}
"""The longest that a title says of a schedule."""


@pytest.mark.parametrize("schedule", [{}, LONG], ids=["own", "changed"])
@pytest.mark.parametrize("number", LAYOUTS)
def test_no_text_lies_on_another_or_outside(study, number, schedule):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

    study = replace(study, plan=study.plan.model_copy(update=schedule))
    drawing = figures.draw(LAYOUTS[number], study)
    said = "networks trained for 12800 epochs in batches of 512, schedules shortened to 0.05"
    assert (said in texts(drawing)) is bool(schedule)
    canvas = FigureCanvasAgg(drawing.figure)
    canvas.draw()
    figure = drawing.figure
    page = figure.bbox
    holders = [figure, *figure.axes]
    shown = [child for holder in holders for child in holder.get_children() if isinstance(child, Text)]
    for axes in figure.axes:
        shown += [axes.xaxis.label, axes.yaxis.label]
        (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()  # ticks beyond them are not drawn
        shown += [label for label in axes.get_xticklabels() if left <= label.get_position()[0] <= right]
        shown += [label for label in axes.get_yticklabels() if low <= label.get_position()[1] <= high]
    for legend in figure.legends:
        shown += [*legend.get_texts(), legend.get_title()]
    boxes = [
        (text.get_text(), text.get_window_extent(canvas.get_renderer()).shrunk(0.98, 0.8))
        for text in shown
        if text.get_text() and text.get_visible()
    ]
    boxes = [(text, box) for text, box in boxes if page.overlaps(box)]
    assert len(boxes) > 8
    for index, (text, box) in enumerate(boxes):
        assert box.x0 >= -1
        assert box.x1 <= page.x1 + 1, text
        for other, its_box in boxes[index + 1 :]:
            assert not box.overlaps(its_box), f"{text!r} lies on {other!r}"


def test_figure_1_has_the_means_and_intervals_of_the_tables(study):
    rows = records(figures.draw(LAYOUTS[1], study))
    assert len(rows) == 4 * 5 * 2  # groups x curves x imbalances
    values = [r.accuracy["few"] for r in study.reports if r.cell.startswith("imb50-balanced_softmax-")]
    chosen = [
        r for r in rows if (r["variant"], r["split"], r["imbalance"]) == ("balanced_softmax", "few", 50)
    ]
    assert chosen[0]["mean"] == pytest.approx(np.mean(values))
    assert chosen[0]["high"] - chosen[0]["mean"] == pytest.approx(
        4.302653 * np.std(values, ddof=1) / np.sqrt(3), rel=1e-6
    )
    to_come = Row(label="A method to come", variant="not yet")
    waiting = LAYOUTS[1].model_copy(update={"curves": [*LAYOUTS[1].curves, to_come]})
    assert "Not yet: A method to come" in texts(figures.draw(waiting, study))
    drawn = texts(figures.draw(LAYOUTS[1], study))
    assert "Not yet" not in drawn
    assert "Not planned: CDB-CE, d = 1 − a²; CDB-CE, d = (1 − a)²; CDB-CE, d = exp(−a)." in drawn
    few = [bundle for bundle in study.plan.bundles if bundle.variant != "balanced_softmax"]
    fewer = replace(study, plan=study.plan.model_copy(update={"bundles": few}))
    assert "exp(−a); Balanced Softmax." in texts(figures.draw(LAYOUTS[1], fewer))


def many_seeds(study: Study, numbers: range) -> Study:
    """The study with the cells of one seed under so many seeds, accuracies all but one at 0 or 100 %."""
    reports, courses = [], {}
    for report in [report for report in study.reports if report.seed == 1]:
        for seed in numbers:
            name = report.cell.replace("seed1", f"seed{seed}")
            high = 40.0 if seed == 5 else 100.0
            accuracy = {"all": high, "many": high, "medium": 50.0, "few": 100 - high}
            copy = report.model_copy(update={"cell": name, "seed": seed, "accuracy": accuracy})
            reports.append(copy)
            courses[name] = replace(study.courses[report.cell], report=copy)
    plan = study.plan.model_copy(update={"seeds": list(numbers)})
    return Study(plan, reports, courses)


def bars(drawing) -> list[np.ndarray]:
    """The ends of all bars, in percent."""
    from matplotlib.collections import LineCollection

    found = [bar for axes in drawing.figure.axes for bar in axes.findobj(LineCollection)]
    return [segment[:, 1] for bar in found for segment in bar.get_segments() if len(segment)]


def test_few_seeds_are_points_and_the_bars_of_many_stay_within_0_and_100(study):
    few = figures.draw(LAYOUTS[1], study)
    assert bars(few) == []
    assert "Small points: seeds" in texts(few)
    chosen = next(row for row in records(few) if (row["variant"], row["split"]) == ("cross_entropy", "all"))
    values = [float(value) for value in chosen["by_seed"].split()]
    wanted = [r.accuracy["all"] for r in study.reports if r.cell.startswith("imb10-cross_entropy-seed")]
    assert values == pytest.approx(wanted)
    drawn = [value for line in few.figure.axes[0].lines for value in np.asarray(line.get_ydata(), float)]
    assert all(np.isclose(drawn, value).any() for value in values)
    many = figures.draw(LAYOUTS[1], many_seeds(study, range(1, 13)))
    ends = np.concatenate(bars(many))
    assert len(ends) > 50
    assert ends.min() >= 0
    assert ends.max() <= 100
    assert np.isclose(ends, 100).any()  # one that the interval would have left
    assert max(row["high"] for row in records(many)) > 100  # as the csv says
    assert "Bars: two-sided 95% Student t interval, as far as" in texts(many)
    for number, words in ((2, "bands: lowest to highest seed"), (3, "band: lowest to highest seed")):
        assert words in texts(figures.draw(LAYOUTS[number], many_seeds(study, range(1, 13))))
        assert "small points: seeds" in texts(figures.draw(LAYOUTS[number], study))


def test_figure_2_sorts_classes_by_accuracy_and_shows_the_last_epoch(study):
    rows = records(figures.draw(LAYOUTS[2], study))
    accuracy = [row for row in rows if row["curve"].startswith("accuracy")]
    assert [row["mean"] for row in accuracy] == sorted(row["mean"] for row in accuracy)
    assert sorted(row["class"] for row in accuracy) == list(range(10))
    courses = [
        course for cell, course in study.courses.items() if cell.startswith("imb50-difficulty_net_lambda_0-")
    ]
    last = np.mean([course.per_class["difficulty"][-1] for course in courses], axis=0)
    shown = {row["class"]: row["mean"] for row in rows if row["curve"] == "difficulty d_c (lambda = 0)"}
    assert [shown[number] for number in range(10)] == pytest.approx(last)
    stretched = [row["min_max"] for row in rows if row["curve"] == "difficulty d_c (lambda = 0.3)"]
    assert (min(stretched), max(stretched)) == (0, 1)


def test_figure_3_is_the_entropy_of_normalised_difficulties(study):
    rows = records(figures.draw(LAYOUTS[3], study))
    courses = [
        course for cell, course in study.courses.items() if cell.startswith("imb50-difficulty_net-seed")
    ]
    difficulty = np.stack([course.per_class["difficulty"] for course in courses])
    share = difficulty / difficulty.sum(axis=2, keepdims=True)
    expected = -np.log(10 * share).mean(axis=2).mean(axis=0)
    assert [row["mean"] for row in rows] == pytest.approx(expected, abs=1e-12)
    assert [row["iteration"] for row in rows] == list(courses[0].iteration)


def test_figure_3_draws_no_point_where_the_entropy_is_zero(study):
    axes = figures.draw(LAYOUTS[3], study).figure.axes[0]
    assert axes.get_yscale() == "log"
    assert axes.get_ylim()[0] > 1e-6
    assert np.asarray(axes.lines[0].get_xdata()).min() > 0


def test_figure_4_shows_the_middle_class_of_each_group_and_its_unrest(study):
    drawing = figures.draw(LAYOUTS[4], study)
    rows = [row for row in records(drawing) if row["variant"] == "difficulty_net"]
    assert {(row["group"], row["class"]) for row in rows} == {("many", 0), ("medium", 3), ("few", 7)}
    weights = study.courses["imb50-difficulty_net-seed2"].per_class["weight"][:, 7]
    chosen = [row for row in rows if (row["seed"], row["class"]) == (2, 7)]
    assert [row["weight"] for row in chosen] == pytest.approx(weights)
    assert chosen[0]["mean_absolute_change"] == pytest.approx(np.mean(np.abs(np.diff(weights))))
    assert {row["variant"] for row in records(drawing)} == {"cdb_ce", "difficulty_net"}
    assert len(drawing.figure.axes) == 2


def test_middle_class_of_two_is_the_larger_and_empty_groups_have_none(study):
    report = study.reports[0]
    members = {"many": [], "medium": [4, 2], "few": [9, 5, 7]}
    changed = report.model_copy(update={"groups": report.groups.model_copy(update={"members": members})})
    assert middle_classes(changed) == {"medium": 2, "few": 7}


@pytest.mark.parametrize(("planned", "shown"), [([50, 10], 50), ([200, 100, 10], 100)])
def test_figures_2_to_4_show_the_papers_imbalance_or_the_largest(study, planned, shown):
    assert Study(study.plan.model_copy(update={"imbalances": planned}), [], {}).imbalance == shown


def test_small_sums_by_hand():
    assert mean_absolute_change(np.array([1.0, 1.5, 1.25])) == pytest.approx(0.375)
    assert min_max(np.array([2.0, 4.0, 3.0])).tolist() == [0, 1, 0.5]
    assert min_max(np.full(3, 0.5)).tolist() == [0, 0, 0]


def test_figures_without_their_cells_and_with_one_seed_and_imbalance_are_drawn(tmp_path):
    chosen = fixtures.params(imbalances=(50,), seeds=(1,))
    fixtures.evaluate(tmp_path, fixtures.build(tmp_path, chosen, ("cross_entropy", "difficulty_net")))
    study = read(tmp_path)
    drawings = {number: figures.draw(layout, study) for number, layout in LAYOUTS.items()}
    assert "none of its methods is in this plan" in texts(drawings[2])
    assert len(drawings[2].rows) == 1
    assert len(drawings[4].figure.axes) == 1  # no empty panel for CDB-CE
    for drawing in drawings.values():
        assert figures.render(drawing)["png"]


def test_drawing_leaves_matplotlibs_global_state_alone(study):
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    figures.render(figures.draw(LAYOUTS[1], study))
    assert dict(mpl.rcParams) == before
