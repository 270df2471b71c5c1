"""Verdicts on the paper's claims: never more than the comparisons say."""

import csv
import io
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from longtail.config.claims import Claim, read_claims
from longtail.config.layouts import Row, read_layouts
from longtail.pipeline import paths
from longtail.reporting import claims
from longtail.reporting.claims import Compared, JudgedClaim, judge_claims, verdict_on
from longtail.reporting.claims_text import claims_markdown, summary
from longtail.reporting.comparisons import Difference, Judgement, holm
from longtail.reporting.differences import images_mcnemar
from longtail.reporting.intervals import Interval
from longtail.reporting.reports import CellReport, FailedReport, NamedCell
from longtail.reporting.study import Study, read_course
from longtail.reporting.tables import Column
from tests.support import report_fixtures as fixtures
from tests.support.stage_runs import run_stage

BETTER, WORSE, UNDECIDED = "better", "worse", "undecided"
OURS, REST = Row(label="a", variant="difficulty_net"), Row(label="b", variant="cdb_ce")


def claim(rule: str = "all") -> Claim:
    above = [{"higher": "focal", "than": []}]
    return Claim.model_validate({"name": "x", "section": "1", "says": "", "rule": rule, "comparisons": above})


def compared(word: str | None, imbalance: float = 50, rows: tuple[Row, Row] = (OURS, REST)) -> Compared:
    judged = None if word is None else Judgement(Difference(Interval(1.0, 0.1, 3), 0.01), 0.01, word)
    return Compared(*rows, Column(imbalance, "net"), judged)


@pytest.mark.parametrize(
    ("words", "verdict"),
    [
        ([BETTER, BETTER], "supported"),
        ([BETTER, UNDECIDED], "undecided"),
        ([BETTER, None], "undecided"),
        ([BETTER, WORSE], "contradicted"),
        ([WORSE, None], "contradicted"),
        ([None, None], "not run"),
    ],
)
def test_a_claim_needs_each_of_its_comparisons(words: list[str | None], verdict: str) -> None:
    assert verdict_on(claim(), [compared(word) for word in words]) == verdict


@pytest.mark.parametrize(
    ("words", "verdict"),  # by imbalance
    [
        ([[BETTER, WORSE], [UNDECIDED, BETTER], [WORSE, WORSE]], "supported"),
        ([[BETTER, WORSE], [UNDECIDED, WORSE]], "undecided"),  # half is not most
        ([[WORSE, WORSE], [WORSE, WORSE], [BETTER, WORSE]], "contradicted"),
        ([[WORSE, UNDECIDED], [WORSE, WORSE]], "undecided"),
    ],
)
def test_often_means_at_most_imbalances(words: list[list[str]], verdict: str) -> None:
    found = [compared(word, imbalance) for imbalance, column in enumerate(words, 1) for word in column]
    assert verdict_on(claim("often"), found) == verdict


@pytest.mark.parametrize(
    ("words", "verdict"),  # a - b, a - c, b - c by imbalance
    [
        ([[BETTER, UNDECIDED, UNDECIDED], [WORSE, UNDECIDED, UNDECIDED]], "supported"),
        ([[BETTER, BETTER, UNDECIDED], [UNDECIDED, BETTER, WORSE]], "undecided"),
        ([[BETTER, BETTER, UNDECIDED], [BETTER, BETTER, UNDECIDED]], "contradicted"),
        ([[WORSE, UNDECIDED, BETTER], [WORSE, UNDECIDED, BETTER]], "contradicted"),
        ([[BETTER, BETTER, BETTER]], "undecided"),  # one imbalance shows no change, nor its absence
    ],
)
def test_the_winner_changes_only_where_two_rows_change_places(words: list[list[str]], verdict: str) -> None:
    rows = [Row(label=name, variant=name) for name in ("cdb_ce", "cdb_ce_concave", "cdb_ce_convex")]
    pairs = [(rows[0], rows[1]), (rows[0], rows[2]), (rows[1], rows[2])]
    found = [
        compared(word, imbalance, pair)
        for imbalance, column in enumerate(words, 1)
        for word, pair in zip(column, pairs, strict=True)
    ]
    assert verdict_on(claim("changes"), found) == verdict


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Study:
    folder = tmp_path_factory.mktemp("study")
    fixtures.evaluate(folder, fixtures.build(folder, variants=(*fixtures.SOME, "cdb_ce_relative")))
    plan, reports = fixtures.read(folder)
    members = [(b.imbalance, b.bundle, m.member) for b in plan.bundles for m in b.members]
    model = partial(paths.model, fixtures.BENCHMARK)
    courses = {
        report.cell: read_course(folder / model(*cell) / "history.parquet", report)
        for cell, report in zip(members, reports, strict=True)
    }
    return Study(plan, reports, courses)


def by_name(judged: list[JudgedClaim]) -> dict[str, JudgedClaim]:
    return {one.claim.name: one for one in judged}


def cells(study: Study, name: str, imbalance: float = 50) -> list[CellReport]:
    return [r for r in study.reports if r.cell.rsplit("-", 1)[0] == f"imb{imbalance:g}-{name}"]


def test_accuracies_are_compared_by_seed_with_holm_over_the_claim(study: Study) -> None:
    one = by_name(judge_claims(read_claims(), study))["λ = 0.3 is the best of Table 5"]
    assert len(one.compared) == 4 * 2
    p_values = []
    for found in one.compared:
        assert found.than is not None
        ours, others = (
            [r.accuracy["all"] or 0.0 for r in cells(study, row.name, found.column.imbalance)]
            for row in (found.higher, found.than)
        )
        p_values.append(stats.ttest_rel(ours, others).pvalue)
        assert found.judged is not None
        assert found.judged.interval.mean == pytest.approx(np.mean(ours) - np.mean(others))
    assert [found.judged and found.judged.p_holm for found in one.compared] == pytest.approx(holm(p_values))


def test_claims_about_figures_are_judged_by_the_histories_of_each_seed(study: Study) -> None:
    found = by_name(judge_claims(read_claims(), study))

    def mean(name: str) -> float:
        (one,) = found[name].compared
        assert one.column.imbalance == 50
        assert one.judged is not None
        assert one.judged.interval.seeds == 3
        return one.judged.interval.mean

    def over_seeds(name: str, value) -> float:
        return float(np.mean([value(study.courses[r.cell]) for r in cells(study, name)]))

    def change(course) -> float:
        weights = course.per_class["weight"]
        return float(np.mean([abs(after - before) for before, after in pairwise(weights)]))

    assert mean("Weights are smoother than CDB-CE's") == pytest.approx(
        over_seeds("cdb_ce", change) - over_seeds("difficulty_net", change)
    )

    def fall(course) -> float:
        entropy = course.curves["entropy"]  # before training, and 12 epochs
        return entropy[1:7].mean() - entropy[7:].mean()

    assert mean("The difficulties settle") == pytest.approx(over_seeds("difficulty_net", fall))

    def span(course) -> float:
        return max(course.per_class["difficulty"][-1]) - min(course.per_class["difficulty"][-1])

    spans = [over_seeds(f"difficulty_net_lambda_{value}", span) for value in ("0.3", "0")]
    assert mean("Without the driver loss, D rates all classes alike") == pytest.approx(spans[0] - spans[1])


def test_only_the_histories_that_a_claim_needs_are_read(study: Study) -> None:
    needed = claims.read_from_histories(read_claims(), study)
    variants = {"cdb_ce", "difficulty_net", "difficulty_net_lambda_0", "difficulty_net_lambda_0.3"}
    assert {report.variant for report in needed} == variants
    assert {report.imbalance for report in needed} == {50}
    assert len(needed) == len({report.cell for report in needed}) == 4 * 3


def test_claims_of_rows_that_are_not_planned_are_left_out(study: Study) -> None:
    judged = by_name(judge_claims(read_claims(), study))
    assert "The best difficulty changes with the imbalance" not in judged  # of four rows one is planned
    assert "Joining CDB-CE and MWN is not enough" not in judged
    stand_alone = judged["Ours beats all previous stand-alone methods"]
    assert {one.than and one.than.name for one in stand_alone.compared} == {"cdb_ce"}


def test_one_seed_decides_nothing(study: Study) -> None:
    one = Study(study.plan, [r for r in study.reports if r.seed == 1], study.courses)
    judged = judge_claims(read_claims(), one)
    assert {found.verdict for found in judged} == {"undecided"}
    (found, _) = by_name(judged)["Relative beats absolute difficulty"].compared
    ours, others = (cells(one, name)[0] for name in ("difficulty_net", "difficulty_net_absolute"))
    assert found.judged is not None
    assert found.judged.mcnemar == images_mcnemar(ours, others) is not None
    assert "McNemar" in claims_markdown(judged, one.plan, read_layouts())
    assert "McNemar" not in claims_markdown(judge_claims(read_claims(), study), study.plan, read_layouts())


def test_what_is_not_run_or_failed_is_said_and_not_judged(study: Study) -> None:
    rest = [report for report in study.reports if report.variant != "difficulty_net_absolute"]
    judged = by_name(judge_claims(read_claims(), Study(study.plan, rest, study.courses)))
    one = judged["Relative beats absolute difficulty"]
    assert (one.verdict, {found.missing for found in one.compared}) == ("not run", {"not run"})
    some = cells(study, "difficulty_net_absolute")[0]
    facts = {name: getattr(some, name) for name in NamedCell.model_fields}
    failure = FailedReport(failed="NaN", iteration=3, **facts)
    judged = by_name(judge_claims(read_claims(), study, [failure]))
    one = judged["Relative beats absolute difficulty"]
    assert [found.missing for found in one.compared] == ["failed", ""]
    assert one.verdict in ("undecided", "contradicted")


def test_the_files_have_every_comparison_and_the_stage_writes_them(study: Study, tmp_path: Path) -> None:
    judged = judge_claims(read_claims(), study)
    rows = list(csv.DictReader(io.StringIO(claims.claims_csv(judged))))
    assert len(rows) == sum(len(one.compared) for one in judged)
    assert {row["verdict"] for row in rows} <= {"supported", "contradicted", "undecided"}
    text = claims_markdown(judged, study.plan, read_layouts())
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len({tuple(i for i, letter in enumerate(line) if letter == "|") for line in lines}) == 1
    assert summary(judged) in text
    assert "The paper makes its claims on other data" in text
    for one in judged:
        assert f"| **{one.claim.name}** " in text
        assert f"- {one.claim.name} (Section {one.claim.section})" in text
    chosen = fixtures.params(imbalances=(50,), seeds=(1, 2))
    fixtures.evaluate(tmp_path, fixtures.build(tmp_path, chosen, ("cross_entropy", "difficulty_net")))
    result = run_stage(tmp_path, "tabulate")
    assert result.code == 0, result.stderr
    assert "the paper's claims: " in result.stdout
    written = (tmp_path / paths.report(fixtures.BENCHMARK, "claims.md")).read_text(encoding="utf-8")
    assert "**The difficulties settle**" in written
    history = tmp_path / paths.model(fixtures.BENCHMARK, 50, "difficulty_net", "seed1") / "history.parquet"
    history.unlink()
    result = run_stage(tmp_path, "tabulate")
    assert (result.code, len(result.stderr.splitlines())) == (2, 1)
    assert "history.parquet: no such" in result.stderr
