"""Differences of rows to a reference: paired by seed, by split and class, and over the images of one seed."""

from itertools import product

import numpy as np
import pytest
from scipy import stats

from longtail.config.layouts import read_layouts
from longtail.planning.plans import TablesPlan
from longtail.reporting import tables
from longtail.reporting.accuracy import SPLITS, pack, unpack
from longtail.reporting.comparisons import holm
from longtail.reporting.differences import class_differences, images_mcnemar, split_differences
from longtail.reporting.reports import CellReport
from tests.support import report_fixtures as fixtures

LAYOUTS = {layout.number: layout for layout in read_layouts().tables}


def spread(reports: list[CellReport], others: list[CellReport], split: str) -> bool:
    """Whether the differences are not all equal: scipy tests rounding errors, too."""
    gaps = np.array(values(reports, split)) - np.array(values(others, split))
    return float(np.ptp(gaps)) > 1e-9


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> tuple[TablesPlan, list[CellReport]]:
    folder = tmp_path_factory.mktemp("study")
    fixtures.evaluate(folder, fixtures.build(folder, variants=fixtures.SOME))
    return fixtures.read(folder)


def seeds_of(reports: list[CellReport], variant: str, head: str | None = None) -> list[CellReport]:
    return [r for r in reports if (r.variant, r.head, r.imbalance) == (variant, head, 50)]


def values(reports: list[CellReport], split: str) -> list[float]:
    return [report.accuracy[split] or 0.0 for report in reports]


REFERENCES = {1: "cross_entropy", 4: "difficulty_net", 5: "cross_entropy"}


@pytest.mark.parametrize("number", REFERENCES)
def test_a_table_has_scipys_paired_differences_with_holm_over_its_rows(study, number) -> None:
    (plan, reports), reference = study, REFERENCES[number]
    table = tables.fill(LAYOUTS[number], plan, reports)
    others = seeds_of(reports, reference)
    for split in SPLITS:
        rows = [
            (group.name, row.label, seeds_of(reports, row.variant, row.head))
            for group in table.layout.groups
            for row in group.rows
            if row.variant and (row.variant, row.head) != (reference, None)
        ]
        rows = [row for row in rows if row[2] and spread(row[2], others, split)]
        expected = [stats.ttest_rel(values(cells, split), values(others, split)) for *_, cells in rows]
        adjusted = holm([test.pvalue for test in expected])
        assert len(rows) > 1
        for (group, label, _), test, p_holm in zip(rows, expected, adjusted, strict=True):
            judged = (table.differences[group, label][0] or {})[split]
            assert judged is not None
            low, high = test.confidence_interval(0.95)
            assert (judged.interval.low, judged.interval.high) == pytest.approx((low, high), rel=1e-9)
            assert judged.p_holm == pytest.approx(p_holm, rel=1e-9)
            assert judged.mcnemar is None  # three seeds


def test_the_reference_has_no_difference_to_itself_and_rows_without_cells_have_none(study) -> None:
    table = tables.fill(LAYOUTS[1], *study)
    assert table.differences["controls, not in the paper's table", "Cross-entropy"] == [None, None]
    assert table.differences["e2e training", "MWN"] == [None, None]
    assert all(table.differences["e2e training", "Ours"])


def test_without_the_reference_there_is_no_difference(study) -> None:
    plan, reports = study
    rest = [report for report in reports if (report.variant, report.head) != ("cross_entropy", None)]
    table = tables.fill(LAYOUTS[1], plan, rest)
    assert table.entries["e2e training", "Ours"][0] is not None
    assert not any(found for columns in table.differences.values() for found in columns)


def test_one_seed_has_mcnemars_test_over_its_test_images(study) -> None:
    plan, reports = study
    first = [report for report in reports if report.seed == 1]
    table = tables.fill(LAYOUTS[1], plan, first)
    found = table.differences["e2e training", "Ours"][0]
    assert found is not None
    judged = found["all"]
    assert judged is not None
    ours, others = (seeds_of(first, name)[0] for name in ("difficulty_net", "cross_entropy"))
    assert ours.right_images is not None
    assert others.right_images is not None
    only = [
        int(np.sum(a & ~b))
        for a, b in ((ours.right_images, others.right_images), (others.right_images, ours.right_images))
    ]
    assert judged.mcnemar == pytest.approx(stats.binomtest(only[0], sum(only), 0.5).pvalue)
    assert (judged.word, judged.p_holm, judged.interval.half_width) == ("undecided", None, None)
    assert judged.interval.mean == pytest.approx(100 * (only[0] - only[1]) / 500)
    few = found["few"]
    assert few is not None
    assert few.mcnemar is None  # it is over all test images


def test_mcnemar_needs_the_images_of_both_and_the_same_ones(study) -> None:
    first, second = seeds_of(study[1], "difficulty_net")[0], seeds_of(study[1], "cross_entropy")[0]
    assert images_mcnemar(first, second) is not None
    assert images_mcnemar(first, second.model_copy(update={"correct": None})) is None
    other = second.disjoint.test.model_copy(update={"sha256": "f" * 64})
    moved = second.disjoint.model_copy(update={"test": other})
    assert images_mcnemar(first, second.model_copy(update={"disjoint": moved})) is None


def test_classes_are_compared_over_seeds_with_holm_over_classes(study) -> None:
    ours, others = seeds_of(study[1], "difficulty_net"), seeds_of(study[1], "cross_entropy")
    found = class_differences(ours, others)
    assert len(found) == fixtures.CLASSES
    pairs = [
        ([r.per_class[label] or 0.0 for r in ours], [r.per_class[label] or 0.0 for r in others])
        for label in range(fixtures.CLASSES)
    ]
    varied = [i for i, (a, b) in enumerate(pairs) if np.ptp(np.subtract(a, b)) > 1e-9]
    adjusted = dict(zip(varied, holm([stats.ttest_rel(*pairs[i]).pvalue for i in varied]), strict=True))
    assert len(varied) > 5
    for label, judged in enumerate(found):
        assert judged is not None
        assert judged.p_holm == (pytest.approx(adjusted[label], rel=1e-9) if label in varied else None)
        assert judged.interval.mean == pytest.approx(np.mean(np.subtract(*pairs[label])))
    empty = [r.model_copy(update={"per_class": [None, *r.per_class[1:]]}) for r in ours]
    assert class_differences(empty, others)[0] is None
    assert class_differences([], others) == []


def test_rows_that_share_no_seed_are_not_compared(study) -> None:
    ours, others = seeds_of(study[1], "difficulty_net"), seeds_of(study[1], "cross_entropy")
    assert split_differences([(ours[:1], others[1:])]) == [None]
    two = split_differences([(ours, others[1:])])[0]
    assert two is not None
    judged = two["all"]
    assert judged is not None
    assert judged.interval.seeds == 2


@pytest.mark.parametrize("images", [1, 7, 8, 500])
def test_bits_of_images_survive_packing(images: int) -> None:
    hits = np.random.default_rng(images).random(images) < 0.5
    text = pack(hits)
    assert unpack(text, images).tolist() == hits.tolist()
    for wrong, n in product(["*", text[:-1] if len(text) > 4 else "A"], [images]):
        with pytest.raises(ValueError, match="base64"):
            unpack(wrong, n)
    with pytest.raises(ValueError, match="not the bits of"):
        unpack(text, images + 8)


def test_a_report_whose_images_do_not_fit_its_accuracy_is_refused(study) -> None:
    found = study[1][0].model_dump()
    assert CellReport.model_validate(found).right_images is not None
    with pytest.raises(ValueError, match="not the images behind"):
        CellReport.model_validate({**found, "correct": pack(np.zeros(500, bool))})
