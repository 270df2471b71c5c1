import re
from importlib.resources import files
from pathlib import Path

import pytest

from longtail.config.layouts import read_layouts
from longtail.errors import InputError

SOURCE = (files("longtail.config") / "tables.yaml").read_text(encoding="utf-8")

ADDED = [
    "as the authors' code computes it",
    "controls, not in the paper's table",
    "heads chosen on the meta set, not in the paper",
]

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
        "#7 Ours w/o relative difficulty|#8 Ours w/o class-level weighting|#9 Ours"
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
    for added in ADDED:
        found.pop(added, None)
    assert found == PAPER[number]
    assert list(found) == list(PAPER[number])


def test_rows_that_the_paper_does_not_have_stand_in_a_group_that_says_so():
    first, *others = read_layouts().tables
    assert [group.name for group in first.groups[2:]] == ADDED
    assert [row.variant for row in first.groups[2].rows] == [
        "difficulty_net_detached",
        "difficulty_net_balanced_softmax_released",
    ]
    assert [row.variant for row in first.groups[3].rows][:2] == ["cross_entropy", "balanced_softmax"]
    assert not {group.name for table in others for group in table.groups} & set(ADDED)


def test_rows_are_filled_by_the_variants_that_the_paper_means():
    one, _, _, four, five = read_layouts().tables
    rows = {row.label: (row.variant, row.head) for row in one.rows}
    assert rows["Ours + LAS"] == ("difficulty_net", "las")
    assert rows["cRT"] == ("cross_entropy", "crt")
    assert rows["MWN + LWS"] == ("meta_weight_net", "lws")
    assert rows["BALMS"] == ("cross_entropy", "balms")
    assert rows["DRO-LT (dagger)"] == ("dro_lt", "crt")
    assert rows["MiSLAS"] == ("mixup", "las")
    assert {row.label[:2]: row.variant for row in four.rows} == {
        "#1": "focal",
        "#2": "cdb_ce",
        "#3": "meta_weight_net",
        "#4": "cdb_ce_mwn",
        "#5": "cdb_ce_relative",
        "#6": "difficulty_net_lambda_0",
        "#7": "difficulty_net_absolute",
        "#8": "sample_difficulty_net",
        "#9": "difficulty_net",
    }
    flags = ["".join(row.flags[name] or "-" for name in four.flags) for row in four.rows]
    assert flags == ["SA--", "CA--", "SA✓-", "CA✓-", "CR--", "CR✓-", "CA✓✓", "SR✓✓", "CR✓✓"]
    sweep = [float((row.variant or "").removeprefix("difficulty_net_lambda_")) for row in five.rows]
    assert sweep == [0, 0.3, 0.6, 0.9, 1]


def test_every_row_has_a_method_but_for_two_copied_ones_and_no_accuracy_stands_in_the_layout():
    rows = [row for table in read_layouts().tables for row in table.rows]
    assert [row.label for row in rows if row.copied] == ["PaCo + Bal. Softmax (dagger)", "IEM"]
    assert all(row.copied or row.variant for row in rows)
    assert not re.search(r"\d\d\.\d", SOURCE)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("difficulty_net_absolute", "difficulty_net_absolut"), "did you mean 'difficulty_net_absolute'"),
        (("head: crt", "head: crd"), "did you mean 'crt'"),
        (("{label: MWN, ", "{label: Focal Loss, "), "'Focal Loss' appears twice"),
        (("head: las}", "head: las, copied: true}"), "not run"),
        (("columns: networks", "columns: nets"), "columns"),
        (("label: LDAM, variant: ldam", "label: LDAM, variant: ldam, colour: red"), "colour"),
        (("label: LDAM, variant: ldam", "label: LDAM, variant: not yet, head: crt"), "needs a variant"),
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


def test_figures_show_cdb_ce_beside_difficulty_net():
    curves = {figure.number: [curve.variant for curve in figure.curves] for figure in read_layouts().figures}
    assert curves[4] == ["cdb_ce", "difficulty_net"]
    functions = ["cdb_ce", "cdb_ce_concave", "cdb_ce_convex", "cdb_ce_exponential"]
    assert [variant for variant in curves[1] if variant and variant.startswith("cdb_ce")] == functions


def test_what_is_needed_is_what_rows_and_curves_name(tmp_path: Path):
    needed = read_layouts().needed()
    chosen = {"difficulty_adjustment", "logit_adjustment", "maxnorm", "tau_norm", "tau_norm_adjustment"}
    assert set(needed["cross_entropy"]) == {"balms", "crt", "disalign", "las", "lws"} | chosen
    assert set(needed["difficulty_net"]) == {"crt", "las", "lws"} | chosen
    assert list(needed["difficulty_net"]) == sorted(needed["difficulty_net"])
    assert needed["mixup"] == ("las",)
    assert needed["focal"] == ()
    path = tmp_path / "tables.yaml"
    text = SOURCE.replace("head: tau_norm}", "head: crt}").replace("variant: lade", "variant: not yet")
    path.write_text(text, encoding="utf-8")
    fewer = read_layouts(path).needed()
    assert "lade" not in fewer
    assert "tau_norm" not in fewer["cross_entropy"]
