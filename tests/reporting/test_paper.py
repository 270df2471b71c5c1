"""The paper's numbers, and the verdict on ours."""

import csv
import math
import re
from collections import Counter
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from longtail.config.benchmarks import IMAGENET_LT, PLACES_LT, Benchmark
from longtail.config.layouts import read_layouts
from longtail.reporting.intervals import mean_interval
from longtail.reporting.paper import Comparison, paper_numbers, read_paper_numbers

PAPERS_OWN = Path(__file__).parents[3] / "shared" / "paper" / "paper_tables.csv"


def test_every_number_is_the_papers():
    if not PAPERS_OWN.is_file():
        pytest.skip(f"the paper's tables do not lie at {PAPERS_OWN}")
    names = {"CIFAR-100-LT": "cifar100-lt", "ImageNet-LT": "imagenet-lt", "Places-LT": "places-lt"}
    wanted = {}
    with PAPERS_OWN.open(encoding="utf-8") as file:
        for line in csv.DictReader(file):
            network = line["backbone"].split()[0].lower().replace("-", "")
            place = (line["method"], float(line["imbalance"]), network, line["split"])
            if line["value"]:
                wanted[int(line["table"]), names[line["dataset"]], *place] = line["value"]
    found = {
        (*table, *place): str(value)
        for table, numbers in read_paper_numbers().items()
        for place, value in numbers.items()
    }
    assert found == wanted
    assert len(found) == 219


def test_each_place_stands_once():
    path = Path(__file__).parents[2] / "longtail" / "reporting" / "paper_numbers.csv"
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "table,row,benchmark,imbalance,network,split,value"
    places = Counter(line.rpartition(",")[0] for line in lines[1:])
    assert max(places.values()) == 1
    assert len(places) == sum(map(len, read_paper_numbers().values())) == 219
    assert all(re.fullmatch(r"\d?\d\.\d\d?", line.rpartition(",")[2]) for line in lines[1:])


def test_what_stands_in_two_tables_is_equal():
    one, four, five = (paper_numbers(number, "cifar100-lt") for number in (1, 4, 5))
    for imbalance in (100, 10):
        place = (imbalance, "resnet32", "all")
        assert one["Ours", *place] == four["#9 Ours", *place] == five["Ours (lambda=0.3)", *place]
        assert four["#6 Ours w/o L_dr", *place] == five["Ours (lambda=0)", *place]
        assert one["MWN", *place] == four["#3 MWN", *place]


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_reproduced_is_within_the_prediction_interval_of_one_more_run(seeds):
    quantiles = {2: 12.706205, 3: 4.302653, 5: 2.776445}  # of Student's t at 0.975
    values = [40.0, 41.5, 40.6, 39.2, 42.3][:seeds]
    reach = quantiles[seeds] * np.std(values, ddof=1) * math.sqrt(1 + 1 / seeds)
    ours = mean_interval(values)
    for side in (-1, 1):
        for factor, verdict in ((0.999, "reproduced"), (1.001, "deviates")):
            paper = Decimal(float(np.mean(values) + side * factor * reach))
            found = Comparison(paper, ours, shortened=False)
            assert found.verdict == verdict
            assert found.tolerance == pytest.approx(reach, rel=1e-6)
            assert found.difference == pytest.approx(-side * factor * reach)


def test_a_new_run_like_the_others_lies_within_in_19_of_20_cases():
    rng = np.random.default_rng(1)
    for seeds in (2, 4):
        verdicts = Counter(
            Comparison(Decimal(float(new)), mean_interval(list(values)), shortened=False).verdict
            for new, *values in rng.normal(50, 0.7, (4000, seeds + 1))
        )
        assert verdicts["reproduced"] / 4000 == pytest.approx(0.95, abs=0.015)


@pytest.mark.parametrize(
    ("paper", "ours", "shortened", "text"),
    [
        ("47.96", [46.96], False, "reproduced (-1.0)"),
        ("47.96", [48.96], False, "reproduced (+1.0)"),
        ("47.96", [49.0], False, "deviates (+1.0)"),
        ("47.96", [44.9], False, "deviates (-3.1)"),
        ("47.96", [47.95], False, "reproduced (+0.0)"),
        ("47.96", [47.0, 47.1], True, "shortened (-0.9)"),
        ("47.96", [47.96], True, "shortened (+0.0)"),
        ("47.96", [47.96, 47.96], False, "reproduced (+0.0)"),
        ("47.96", None, False, "not run"),
        ("47.96", None, True, "not run"),
        (None, [47.0], False, ""),
        (None, None, False, ""),
    ],
)
def test_the_verdict_comes_with_the_difference(paper, ours, shortened, text):
    interval = mean_interval(ours) if ours else None
    found = Comparison(Decimal(paper) if paper else None, interval, shortened)
    assert found.text == text
    assert text.startswith(found.verdict)


@pytest.mark.parametrize("benchmark", [IMAGENET_LT, PLACES_LT], ids=lambda benchmark: benchmark.name)
def test_the_numbers_on_lists_stand_where_the_pipelines_put_theirs(benchmark: Benchmark) -> None:
    (layout,) = read_layouts().of(benchmark.name).tables
    numbers = paper_numbers(layout.number, benchmark.name)
    assert benchmark.totals is not None
    assert {place[2] for place in numbers} == set(benchmark.networks)
    assert {place[1] for place in numbers} == {benchmark.totals.imbalance}
    rows = {row.label for row in layout.rows}
    assert {place[0] for place in numbers} == rows
    assert {place[3] for place in numbers} <= set(layout.splits)
