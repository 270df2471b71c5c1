"""Cells whose numbers go wrong: said with iteration and term, and nobody else stops for them."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.support.stage_runs import DATA, run_stages

PARAMS = "lambda: 0.3\nimbalances: {digits-lt: [50]}\nseeds: [1, 2]\nschedule: {fraction: 0.1}\n"
MODELS = Path("models/digits-lt/imb50")
HEADS = Path("models/digits-lt/imb50-heads/cross_entropy-heads")
PLAN = Path("data/digits-lt/plan/imb50")


def edit(path: Path, *keys: str, **changes: Any) -> None:
    """Change fields of a JSON file below `keys`."""
    content = json.loads(path.read_text())
    inner = content
    for key in keys:
        inner = inner[key]
    inner.update(changes)
    path.write_text(json.dumps(content))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A sound representation, and heads of which one has an absurd learning rate; what the stages said."""
    folder = tmp_path_factory.mktemp("failed")
    (folder / "params.yaml").write_text(PARAMS)
    run_stages(folder, *DATA)
    plan = folder / PLAN / "retrain/cross_entropy-heads.json"
    edit(plan, "heads", "crt", "training", "schedule", peak=1e30)
    return folder, run_stages(folder, "represent 50 cross_entropy", "retrain 50 cross_entropy")


def test_a_failed_cell_is_a_result_and_the_others_of_its_bundle_are_trained(
    trained: tuple[Path, str],
) -> None:
    folder, said = trained
    heads = folder / HEADS
    names = {path.name for path in heads.iterdir()}
    assert {"crt-seed1", "crt-seed2", "lws-seed1", "las-seed2"} <= names
    for path in heads.iterdir():
        assert (path / "cell.json").is_file() is not path.name.startswith("crt")
    assert [path.name for path in (heads / "crt-seed1").iterdir()] == ["failed.json"]
    found = json.loads((heads / "crt-seed1" / "failed.json").read_text())
    assert set(found) == {"cell", "fingerprint", "network", "variant", "recipe", "reason", "iteration"}
    assert (found["cell"], found["variant"]) == ("imb50-cross_entropy-crt-seed1", "cross_entropy")
    assert len(found["fingerprint"]) == 64
    # the first step goes astray, and the loss of the second shows it where the weights do not
    assert found["iteration"] in (1, 2)
    assert found["reason"].startswith(
        f"not finite at iteration {found['iteration']} at learning rate 1e+30: "
    )
    last = said.splitlines()[-1]
    assert "done: 2 of " in last
    assert "FAILED and have no result: imb50-cross_entropy-crt-seed1, imb50-cross_entropy-crt-seed2" in last
    assert f"FAILED imb50-cross_entropy-crt-seed1: {found['reason']}" in said


def test_a_failed_cell_is_not_trained_again_and_says_the_same(
    trained: tuple[Path, str], tmp_path: Path
) -> None:
    folder, said = trained
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    shutil.rmtree(copy / HEADS)
    again = run_stages(copy, "retrain 50 cross_entropy")
    assert "(0 to train)" in again
    assert again.splitlines()[-3:] == said.splitlines()[-3:]
    one, other = ((root / HEADS / "crt-seed1/failed.json").read_bytes() for root in (folder, copy))
    assert one == other


def test_heads_on_failed_features_have_failed_and_a_mended_setting_trains_anew(
    trained: tuple[Path, str], tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(trained[0], copy)
    for name in ("represent/cross_entropy", "retrain/cross_entropy-heads"):
        edit(copy / PLAN / f"{name}.json", "training", "schedule", start=1e30, peak=1e30)
    said = run_stages(copy, "represent 50 cross_entropy", "retrain 50 cross_entropy")
    failures = {
        path.parent.name: json.loads(path.read_text()) for path in (copy / "models").rglob("failed.json")
    }
    assert {"seed1", "seed2", "lws-seed1"} <= set(failures)
    assert not list((copy / "models").rglob("cell.json"))
    below = failures["seed1"]["reason"]
    assert failures["lws-seed1"]["reason"] == f"its features failed: {below}"
    assert failures["lws-seed1"]["iteration"] == 0
    assert len({failure["fingerprint"] for failure in failures.values()}) == len(failures)
    assert "2 of 2 cells FAILED" in said
    said = run_stages(copy, "plan", "represent 50 cross_entropy")
    assert "0 cells trained, 2 taken from work/" in said, "the sound ones are still there"
    assert not (copy / MODELS / "cross_entropy" / "seed1" / "failed.json").exists()
