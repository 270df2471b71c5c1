"""Tables with the paper's numbers beside ours."""

import csv
import io
import re
from collections import Counter
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest

from longtail.config.layouts import read_layouts
from longtail.config.presets import VARIANTS
from longtail.files import write_json
from longtail.pipeline import paths
from longtail.planning.plans import BundleMembers, Member, ShotGroupsPlan, TablesPlan, write_plan
from longtail.reporting.accuracy import SPLITS
from longtail.reporting.intervals import mean_interval
from longtail.reporting.paper import Comparison, paper_numbers, read_paper_numbers, verdict_notes
from longtail.reporting.reports import CellReport, Scores, ShotGroups
from longtail.reporting.table_text import headline, markdown
from longtail.reporting.tables import Table, fill, long_csv, metrics
from longtail.running.cell_record import DisjointSets, SetDigest
from tests.support.stage_runs import run_stage

LAYOUTS = {layout.number: layout for layout in read_layouts().tables}
KANG = ShotGroupsPlan(convention="kang", many_above=100, few_below=20)

BENCHMARKS = {1: "cifar100-lt", 2: "imagenet-lt", 3: "places-lt", 4: "cifar100-lt", 5: "cifar100-lt"}
NETWORKS = {"cifar100-lt": ["resnet32"], "imagenet-lt": ["resnet10", "resnet50"], "places-lt": ["resnet152"]}
IMBALANCES = {"cifar100-lt": [10.0, 20.0, 50.0, 100.0, 200.0], "imagenet-lt": [256.0], "places-lt": [996.0]}


IMAGES = SetDigest(images=1, sha256="")


def report(
    benchmark: str, variant: str, head: str | None, imbalance: float, network: str, seed: int
) -> CellReport:
    """A made-up cell with two classes; each of its accuracies stands for the place and the seed alone."""
    rng = np.random.default_rng(list(f"{variant} {head} {imbalance:g} {network} {seed}".encode()))

    def scores() -> Scores:
        accuracy: dict[str, float | None] = {split: 40 + float(rng.normal()) for split in SPLITS}
        return Scores(accuracy=accuracy, per_class=[], ece=1.0)

    return CellReport(
        **scores().model_dump(),
        selected=scores(),
        cell=f"imb{imbalance:g}-{variant}-{head or ''}seed{seed}",
        fingerprint="",
        recipe="",
        benchmark=benchmark,
        imbalance=imbalance,
        network=network,
        variant=variant,
        method="",
        head=head,
        seed=seed,
        settings={"lambda": 0.3} if variant == "difficulty_net" else {},
        manifests={},
        disjoint=DisjointSets(train=IMAGES, meta=IMAGES, test=IMAGES, shared=0),
        counts=[475, 4],
        class_names=["a", "b"],
        groups=ShotGroups(**KANG.model_dump(), members={"many": [0], "medium": [], "few": [1]}),
        iterations=12_800,
        device="cpu",
        versions={},
    )


def made_up(
    number: int, seeds=(1, 2, 3), fraction=1.0, rows: tuple[str, ...] = (), benchmark: str = "", **changes
) -> Table:
    """Table `number` with cells for its `rows` (all: none named) at the paper's benchmark."""
    benchmark = benchmark or BENCHMARKS[number]
    networks, imbalances = NETWORKS[BENCHMARKS[number]], IMBALANCES[BENCHMARKS[number]]
    plan = TablesPlan.model_construct(  # a plan without bundles, which none is that comes from a file
        benchmark=benchmark,
        imbalances=imbalances,
        seeds=list(seeds),
        schedule_fraction=fraction,
        precision="float32",
        networks=networks,
        groups=KANG,
        bundles=[],
    )
    wanted = [row for row in LAYOUTS[number].rows if row.variant and (not rows or row.label in rows)]
    reports = [
        report(benchmark, variant, head, imbalance, network, seed).model_copy(update=changes)
        for variant, head in {(row.variant or "", row.head) for row in wanted}
        for imbalance in imbalances
        for network in networks
        for seed in seeds
    ]
    return fill(LAYOUTS[number], plan, sorted(reports, key=lambda found: found.cell))


def rows_of(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def row_of(text: str, label: str) -> list[str]:
    return next(row for row in rows_of(text) if row[0] == label)


def lines_of(table: Table) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(long_csv(table))))


def test_every_number_has_its_place_in_the_layouts():
    assert {(number, BENCHMARKS[number]) for number in LAYOUTS} == set(read_paper_numbers())
    for (number, benchmark), numbers in read_paper_numbers().items():
        labels = [row.label for row in LAYOUTS[number].rows]
        for label, imbalance, network, split in numbers:
            assert labels.count(label) == 1
            assert imbalance in IMBALANCES[benchmark]
            assert network in NETWORKS[benchmark]
            assert split in LAYOUTS[number].splits


def test_three_columns_and_a_difference_for_each_imbalance_that_the_paper_has():
    three = ["**Paper**", "**Here**", "**Verdict**"]
    upper, _, lower, *_ = rows_of(markdown(made_up(1)))
    assert upper[1::4] == [f"Imbalance {imbalance}" for imbalance in (200, 100, 50, 20, 10)]
    assert lower[1:] == [*three, "**All − Cross-entropy**"] * 5
    upper, _, lower, *_ = rows_of(markdown(made_up(4)))
    assert [word for word in upper[5:] if word] == [f"Imbalance {r}" for r in (200, 100, 50, 20, 10)]
    here, printed = ["**Here**", "**All − #9 Ours**"], [*three, "**All − #9 Ours**"]
    assert lower[5:] == [*here, *printed, *here, *here, *printed]
    upper, _, lower, *_ = rows_of(markdown(made_up(2)))
    assert upper[1:] == ["resnet10", "", "", "", "resnet50", "", "", ""]
    assert lower[1:] == [*three, "**All − Cross-entropy**"] * 2
    upper, _, lower, *_ = rows_of(markdown(made_up(3)))
    assert upper[1::3] == ["Many", "Med", "Few", "All", ""]
    assert lower[1:] == [*three * 4, "**All − Cross-entropy**"]


def test_at_an_imbalance_that_the_paper_lacks_nothing_is_counted():
    assert verdict_notes([]) == ["The paper prints no number at what is shown here."]
    assert verdict_notes([Comparison(None, None, False)]) == verdict_notes([])
    assert "Of its 1 numbers" in verdict_notes([Comparison(Decimal("50.0"), None, False)])[0]


def test_the_terminal_tells_networks_apart():
    first = headline(made_up(2)).splitlines()[0]
    assert re.split(r"\s{2,}", first.strip()) == [
        "resnet10 All",
        "resnet10 Few",
        "All − Cross-entropy",
        "resnet50 All",
        "resnet50 Few",
        "All − Cross-entropy",
    ]


def test_a_row_has_the_papers_number_ours_and_the_verdict():
    table = made_up(1)
    text = markdown(table)
    interval = mean_interval(
        [r.accuracy["all"] or 0 for r in table.reports if r.cell.startswith("imb100-ldam-")]
    )
    wanted = Comparison(paper_numbers(1, "cifar100-lt")["LDAM", 100, "resnet32", "all"], interval, False)
    assert row_of(text, "LDAM")[5:8] == [
        str(wanted.paper),
        f"{interval.mean:.1f} ± {interval.half_width:.1f}",
        wanted.text,
    ]
    assert row_of(text, "PaCo + Bal. Softmax †")[5:8] == ["52.00", "", "not run"]
    assert row_of(text, "DRO-LT †")[1] == "–"  # the paper has no number at 200, we do
    assert re.fullmatch(r"\d\d\.\d ± \d\.\d", row_of(text, "DRO-LT †")[2])
    assert row_of(text, "DRO-LT †")[3] == ""
    assert row_of(text, "Mixup")[1::4] == ["–"] * 5
    assert set(row_of(text, "Mixup")[3::4]) == {""}


def test_a_table_of_which_little_ran_says_not_run():
    table = made_up(1, seeds=(1,), rows=("Ours", "Balanced Softmax", "Cross-entropy"))
    text = markdown(table)
    assert row_of(text, "Focal Loss")[1:4] == ["39.64", "", "not run"]
    assert row_of(text, "Mixup")[1:4] == ["–", "", "not run"]
    assert "not yet" not in text
    assert sum(cell == "not run" for row in rows_of(text) for cell in row) == 5 * (len(LAYOUTS[1].rows) - 3)
    assert re.search("Of its 111 numbers: (\\d reproduced, )?\\d deviating, 106 not run", text)
    nothing = markdown(fill(LAYOUTS[5], table.plan, []))
    assert "No row of this table is planned." in nothing
    assert "Of its 10 numbers: 10 not run." in nothing


@pytest.mark.parametrize("number", LAYOUTS)
def test_markdown_is_aligned(number):
    lines = [line for line in markdown(made_up(number)).splitlines() if line.startswith("|")]
    assert len({tuple(i for i, letter in enumerate(line) if letter == "|") for line in lines}) == 1


def test_the_rule_stands_below_the_table():
    several = markdown(made_up(1))
    assert "|here − paper| ≤ t(0.975, n − 1) · s · √(1 + 1/n)" in several
    assert "one seed" not in several
    assert "by shot group, and of the weights that the meta set selects: `table1.csv`" in several
    assert "†: the paper copied its number from the method's own publication" in several
    one = markdown(made_up(1, seeds=(4,)))
    assert "with one seed, whose spread nobody knows, they differ by at most 1.0 percentage points" in one
    assert "t(0.975" not in one
    assert "\\*: the paper ran the method's released code" in markdown(made_up(2))
    assert "that the meta set selects" not in markdown(made_up(3))  # all that the paper prints is in it


def test_how_wide_the_prediction_intervals_are_is_said():
    table = made_up(1)
    found = re.search(r"in this table ± (\d+\.\d) to ± (\d+\.\d)", markdown(table))
    assert found is not None
    judged = [line for line in lines_of(table) if line["tolerance"] and line["weights"] == "last"]
    widths = [float(line["tolerance"]) for line in judged]
    assert [float(word) for word in found.groups()] == pytest.approx([min(widths), max(widths)], abs=0.051)


def test_networks_that_are_trained_for_less_are_never_judged_and_those_for_longer_are():
    table = made_up(1)
    for full, verdicts in (
        (False, {"", "shortened", "not run"}),
        (True, {"", "reproduced", "deviates", "not run"}),
    ):
        changed = {"length": 100, "unit": "epochs", "full_length": full}
        found = replace(table, plan=table.plan.model_copy(update=changed))
        assert {line["verdict"] for line in lines_of(found)} <= verdicts
        assert ("shortened" in markdown(found)) is not full


def test_a_shortened_schedule_is_never_judged():
    table = made_up(1, fraction=0.05)
    text = markdown(table)
    assert not re.search("reproduced|deviat", text)
    assert text.splitlines()[0].endswith("cifar100-lt, schedules shortened to 0.05 of full length")
    assert "shortened: with less than the full schedule no number is judged." in text
    assert {line["verdict"] for line in lines_of(table)} == {"", "shortened", "not run"}
    assert {line["tolerance"] for line in lines_of(table)} == {""}


def test_another_lambda_than_the_papers_is_said():
    assert "Ours: λ = 0.3.\n" in markdown(made_up(1))
    text = markdown(made_up(1, rows=("Ours",), settings={"lambda": 0.6}))
    assert "Ours: λ = 0.6; the paper's numbers have λ = 0.3." in text


def test_the_csv_has_the_verdicts_on_last_and_on_selected_weights():
    table = made_up(4)
    lines = lines_of(table)
    assert len(lines) == 9 * 5 * 4 * 2
    judged = [line for line in lines if line["verdict"]]
    assert len(judged) == 9 * 2 * 2
    assert {(line["split"], line["imbalance"]) for line in judged} == {("all", "100"), ("all", "10")}
    assert Counter(line["weights"] for line in judged) == {"last": 18, "selected": 18}
    for line in judged:
        assert float(line["difference"]) == pytest.approx(
            float(line["mean"]) - float(line["paper"]), abs=1e-4
        )
        half = (float(line["high"]) - float(line["low"])) / 2
        assert float(line["tolerance"]) == pytest.approx(2 * half, abs=1e-3)  # 3 seeds: the root of 4
        within = abs(float(line["difference"])) <= float(line["tolerance"])
        assert line["verdict"] == ("reproduced" if within else "deviates")
    ours = {line["weights"]: line["mean"] for line in judged if line["row"] == "#9 Ours"}
    assert ours["last"] != ours["selected"]


@pytest.mark.parametrize("number", LAYOUTS)
def test_data_that_the_paper_does_not_have_are_compared_with_nothing(number):
    table = made_up(number, benchmark="cifar10-lt")
    text = markdown(table)
    assert not re.search("Paper|paper's number|reproduced|Verdict", text)
    fields = ("paper", "difference", "tolerance", "verdict")
    assert {line[field] for line in lines_of(table) for field in fields} == {""}


def test_the_stage_writes_them(tmp_path):
    benchmark = "cifar100-lt"
    table = made_up(1, rows=("LDAM",))
    members = [Member(member=f"seed{seed}", head=None, seed=seed, recipe="") for seed in (1, 2, 3)]
    bundles = [
        BundleMembers(imbalance=imbalance, bundle="ldam", variant="ldam", members=members)
        for imbalance in table.plan.imbalances
    ]
    plan = table.plan.model_copy(update={"bundles": bundles})
    write_plan(tmp_path / paths.tables_plan(benchmark), plan)
    settings = VARIANTS["ldam"].resolve("ldam", benchmark, 100, {}, 0.3)
    for found in table.reports:
        path = paths.cell_report(benchmark, found.imbalance, "ldam", f"seed{found.seed}")
        whole = found.model_copy(update={"method": "ldam", "settings": settings})
        write_json(tmp_path / path, whole.model_dump(mode="json"))
    result = run_stage(tmp_path, "tabulate", "--benchmark", benchmark)
    assert result.code == 0, result.stderr
    text = (tmp_path / paths.report(benchmark, "table1.md")).read_text(encoding="utf-8")
    assert text == markdown(fill(LAYOUTS[1], plan, table.reports))
    assert row_of(text, "LDAM")[5] == "46.14"
    assert (tmp_path / paths.report(benchmark, "table1.csv")).read_text() == long_csv(table)


def test_metrics_are_of_the_last_weights_alone():
    table = made_up(1)
    values = [r.accuracy["all"] or 0 for r in table.reports if r.cell.startswith("imb100-ldam-seed")]
    assert metrics(table)["imb100"]["ldam"]["all"] == pytest.approx(np.mean(values), abs=1e-4)
