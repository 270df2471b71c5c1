"""The file of the paper's claims: its rows are run, and its mistakes are named."""

from importlib.resources import files
from pathlib import Path

import pytest

from longtail.config.claims import read_claims
from longtail.config.layouts import read_layouts
from longtail.errors import InputError

SOURCE = (files("longtail.config") / "claims.yaml").read_text(encoding="utf-8")


def test_every_row_of_a_claim_is_a_row_or_curve_of_the_paper() -> None:
    layouts = read_layouts()
    rows = [row for claim in read_claims() for pair in claim.pairs for row in pair if row]
    assert len(rows) > 50
    for row in rows:
        assert layouts.row(row.name).same_cells(row)
        assert layouts.label(row) != row.name  # it has a label


def test_the_claims_are_those_that_the_paper_makes_of_its_parts() -> None:
    pairs = {
        claim.name: [(a.name, b.name if b else None) for a, b in claim.pairs]
        for claim in read_claims()
        if len(claim.pairs) == 1
    }
    ours = "difficulty_net"
    assert pairs == {
        "Joining CDB-CE and MWN is not enough": [(ours, "cdb_ce_mwn")],
        "The driver loss helps": [(ours, "difficulty_net_lambda_0")],
        "Relative beats absolute difficulty": [(ours, "difficulty_net_absolute")],
        "Class-level beats sample-level weighting": [(ours, "sample_difficulty_net")],
        "Sample-level Difficulty-Net beats MWN": [("sample_difficulty_net", "meta_weight_net")],
        "Meta-learning helps": [("difficulty_net_lambda_0", "cdb_ce_relative")],
        "Balanced Softmax adds to Ours": [("difficulty_net_balanced_softmax", ours)],
        "Without the driver loss, D rates all classes alike": [
            ("difficulty_net_lambda_0.3", "difficulty_net_lambda_0")
        ],
        "The difficulties settle": [(ours, None)],
        "Weights are smoother than CDB-CE's": [("cdb_ce", ours)],
    }


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (("than: [cdb_ce_mwn]", "than: [cdb_ce_mvn]"), "did you mean 'cdb_ce_mwn'"),
        (("difficulty_net+crt", "difficulty_net+crd"), "did you mean 'crt'"),
        (("rule: often", "rule: sometimes"), "rule"),
        (("name: Meta-learning helps", "name: The driver loss helps"), "loss helps' appears twice"),
        (("measure: entropy_fall", "measure: entropy"), "measure"),
        (("claims:", "claims: ["), "not YAML"),
    ],
)
def test_mistakes_are_named_in_one_line(tmp_path: Path, change: tuple[str, str], complaint: str) -> None:
    assert change[0] in SOURCE
    path = tmp_path / "claims.yaml"
    path.write_text(SOURCE.replace(*change, 1), encoding="utf-8")
    with pytest.raises(InputError, match=complaint) as error:
        read_claims(path)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)
