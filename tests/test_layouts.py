import re
from importlib.resources import files
from pathlib import Path

import pytest
import yaml

from longtail.errors import InputError
from longtail.layouts import read_layouts

SOURCE = (files("longtail") / "tables.yaml").read_text(encoding="utf-8")

PAPER = {  # the rows that the paper prints, block by block
    1: {
        "e2e training": "Focal Loss|MWN|Class-Balanced|CB-DA|LDAM|EQL|CDB-CE|PaCo|PaCo + Bal. Softmax|"
        "PaCo + Bal. Softmax (dagger)|Ours|Ours + Bal. Softmax",
        "decoupled learning": "cRT|LWS|LAS|DRO-LT (dagger)|BALMS|MWN + cRT|MWN + LWS|MWN + LAS|"
        "Ours + cRT|Ours + LWS|Ours + LAS",
    },
    2: {
        "e2e training": "CE|Focal loss|EQL|CB-DA|CDB-CE|Bal. Softmax|PaCo (asterisk)|"
        "PaCo + Bal. Softmax (asterisk)|Ours|Ours + Bal. Softmax",
        "decoupled learning": "cRT|LWS|MiSLAS|BALMS|DRO-LT|Ours + cRT|Ours + LWS|Ours + LAS",
    },
    3: {
        "e2e training": "CE|CB sampling|Focal Loss",
        "previous results": "cRT|LWS|BALMS|LADE|DisAlign|IEM|MiSLAS|PaCo",
        "ours": "Ours + cRT|Ours + LWS|Ours + LAS",
    },
    4: {
        "ablation": "#1 Focal loss|#2 CDB-CE|#3 MWN|#4 CDB-CE + MWN|#5 Ours w/o L_dr and ML|#6 Ours w/o L_dr|"
        "#7 Ours w/o relative difficulty|#8 Ours w/o class-level weighting|#9 Ours",
    },
    5: {
        "lambda sweep": "Ours (lambda=0)|Ours (lambda=0.3)|Ours (lambda=0.6)|Ours (lambda=0.9)|"
        "Ours (lambda=1.0)"
    },
}


@pytest.mark.parametrize("number", PAPER)
def test_tables_have_the_papers_rows_in_the_papers_order(number):
    table = next(table for table in read_layouts().tables if table.number == number)
    found = {group.name: "|".join(row.label for row in group.rows) for group in table.groups}
    found.pop("controls, not in the paper's table", None)
    assert found == PAPER[number]
    assert list(found) == list(PAPER[number])


def test_rows_that_the_paper_does_not_have_stand_in_a_group_that_says_so():
    groups = read_layouts().tables[0].groups
    assert groups[-1].name == "controls, not in the paper's table"
    assert [row.label for row in groups[-1].rows] == ["Cross-entropy", "Balanced Softmax"]


def test_rows_are_filled_by_the_variants_that_the_paper_means():
    one, _, _, four, five = read_layouts().tables
    rows = {row.label: (row.variant, row.head) for row in one.rows}
    assert rows["Ours + LAS"] == ("difficulty_net", "las")
    assert rows["cRT"] == ("cross_entropy", "crt")
    assert rows["MWN + LWS"] == (None, None)
    ablation = {row.label[:2]: row.variant for row in four.rows if row.variant}
    assert ablation == {
        "#6": "difficulty_net_lambda_0",
        "#7": "difficulty_net_absolute",
        "#9": "difficulty_net",
    }
    flags = ["".join(row.flags[name] or "-" for name in four.flags) for row in four.rows]
    assert flags == ["SA--", "CA--", "SA✓-", "CA✓-", "CR--", "CR✓-", "CA✓✓", "SR✓✓", "CR✓✓"]
    sweep = [float((row.variant or "").removeprefix("difficulty_net_lambda_")) for row in five.rows]
    assert sweep == [0, 0.3, 0.6, 0.9, 1]


def test_only_dagger_rows_are_copied_and_no_accuracy_stands_in_the_layout():
    copied = [row.label for table in read_layouts().tables for row in table.rows if row.copied]
    assert copied == ["PaCo + Bal. Softmax (dagger)", "DRO-LT (dagger)"]
    assert not re.search(r"\d\d\.\d", SOURCE)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("difficulty_net_absolute", "difficulty_net_absolut"), "did you mean 'difficulty_net_absolute'"),
        (("head: crt", "head: crd"), "did you mean 'crt'"),
        (("{label: MWN, ", "{label: Focal Loss, "), "'Focal Loss' stands twice"),
        (("columns: networks", "columns: nets"), "columns"),
        (("label: LDAM, variant: not yet", "label: LDAM, variant: not yet, colour: red"), "colour"),
        (
            ("label: Ours, variant: difficulty_net}", "label: Ours, variant: difficulty_net, copied: true}"),
            "not run",
        ),
        (("tables:", "tables: ["), "not YAML"),
    ],
)
def test_mistakes_in_a_layout_are_named_in_one_line(tmp_path: Path, change, complaint):
    assert change[0] in SOURCE
    path = tmp_path / "tables.yaml"
    path.write_text(SOURCE.replace(change[0], change[1], 1), encoding="utf-8")
    with pytest.raises(InputError, match=re.escape(complaint)) as error:
        read_layouts(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


def test_figures_wait_for_cdb_ce():
    curves = {figure.number: figure.curves for figure in read_layouts().figures}
    assert [curve.variant for curve in curves[4]] == [None, "difficulty_net"]
    assert sum(curve.variant is None for curve in curves[1]) == 2
    assert yaml.safe_load(SOURCE)["figures"][3]["curves"][0]["variant"] == "not yet"
