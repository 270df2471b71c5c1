"""`plan`, `represent` and `retrain` as a person runs them, without DVC."""

import json
import shutil
from pathlib import Path

import pytest

from longtail.config.presets import METHODS
from longtail.pipeline.ahead import names_no_stage
from tests.support.stage_runs import DATA, python, run_stage, run_stages

PARAMS = "lambda: 0.3\nimbalances: {digits-lt: [50]}\nseeds: [1, 2]\nschedule: {fraction: 0.04}\n"
MODELS = Path("models/digits-lt/imb50/cross_entropy")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which cross-entropy was trained at imbalance 50."""
    folder = tmp_path_factory.mktemp("stages")
    (folder / "params.yaml").write_text(PARAMS)
    run_stages(folder, *DATA)
    (folder / "said").write_text(run_stages(folder, "represent 50 cross_entropy"))
    return folder


def test_a_training_says_what_it_is_about_to_do_and_ends_with_one_line(trained: Path) -> None:
    lines = (trained / "said").read_text().splitlines()
    assert "314 images, 10 classes, n_max 114, n_min 2, meta 100" in lines[0]
    assert "2 cells (2 to train) x 6 iterations of 64, digits_resnet on " in lines[1]
    assert lines[-1].startswith(f"represent    done: {MODELS}: 2 cells trained, 0 taken from work/")


def test_a_finished_cell_is_taken_from_the_work_folder(trained: Path) -> None:
    before = contents(trained / MODELS)
    shutil.rmtree(trained / MODELS)
    done = run_stage(trained, *REPRESENT)
    assert "0 cells trained, 2 taken from work/" in done.stdout
    assert contents(trained / MODELS) == before


def test_a_clone_that_pulled_its_results_trains_only_what_is_damaged(trained: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pulled"
    shutil.copytree(trained, folder, ignore=shutil.ignore_patterns("work"))
    assert "0 cells trained, 2 taken from work/" in run_stage(folder, *REPRESENT).stdout
    assert contents(folder / "work") == contents(trained / "work")
    shutil.rmtree(folder / "work")
    path = folder / MODELS / "seed2" / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-7])
    assert "1 cell trained, 1 taken from work/" in run_stage(folder, *REPRESENT).stdout
    assert path.read_bytes() == (trained / path.relative_to(folder)).read_bytes()


def test_a_new_plan_leaves_the_cells_that_it_has_and_removes_the_others(
    trained: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "fewer"
    shutil.copytree(trained, folder)
    (folder / "params.yaml").write_text(PARAMS.replace("[1, 2]", "[2, 3]"))
    run_stages(folder, "plan")
    kept = folder / MODELS / "seed2" / "cell.json"
    before = kept.stat().st_ino
    assert "1 cell trained, 1 taken from work/" in run_stage(folder, *REPRESENT).stdout
    assert kept.stat().st_ino == before
    assert {path.name for path in (folder / MODELS).iterdir()} == {"seed2", "seed3"}


def test_without_a_name_all_bundles_are_trained_and_equal_variants_once(
    trained: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "all"
    shutil.copytree(trained, folder)
    few = ["cross_entropy", "difficulty_net", "difficulty_net_lambda_0.3"]
    (folder / "params.yaml").write_text(f"{PARAMS}variants: {few}\n".replace("'", ""))
    run_stages(folder, "plan")
    (folder / MODELS.parent / "focal").mkdir()
    said = run_stage(folder, "represent", "50").stdout
    assert "imb50, 3 bundles: 314 images" in said
    assert "6 cells (2 to train)" in said
    assert "done: models/digits-lt/imb50: 2 cells trained, 4 taken from work/" in said
    assert {path.name for path in (folder / MODELS).parent.iterdir()} == set(few), (
        "and none of an earlier plan"
    )
    one, other = (folder / MODELS.parent / name / "seed1" for name in few[1:])
    assert (one / "weights.safetensors").read_bytes() == (other / "weights.safetensors").read_bytes()


@pytest.mark.parametrize("name", ["weights.safetensors", "history.parquet", "cell.json"])
def test_a_finished_cell_that_was_damaged_is_named_and_trained_anew(
    trained: Path, tmp_path: Path, name: str
) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(trained, folder)
    path = sorted(folder.glob(f"work/*/finished/{name}"))[0]
    path.write_bytes(path.read_bytes()[:-7])
    done = run_stage(folder, *REPRESENT)
    assert done.code == 0, done.stderr
    assert f"{name} damaged; training the cell again" in done.stdout
    assert "1 cell trained, 1 taken from work/" in done.stdout
    before, after = (
        {key: value for key, value in contents(root / MODELS).items() if not key.endswith("timing.json")}
        for root in (trained, folder)
    )
    assert after == before


def test_one_cell_can_be_trained_by_itself_to_the_same_bytes(trained: Path, tmp_path: Path) -> None:
    folder = tmp_path / "alone"
    shutil.copytree(trained, folder, ignore=shutil.ignore_patterns("work", "models"))
    done = run_stage(folder, *REPRESENT, "--seed", "2")
    assert done.code == 0, done.stderr
    assert [path.name for path in (folder / MODELS).iterdir()] == ["seed2"]
    for name in ("weights.safetensors", "selected.safetensors", "history.parquet", "predictions.parquet"):
        assert (folder / MODELS / "seed2" / name).read_bytes() == (
            trained / MODELS / "seed2" / name
        ).read_bytes()


def test_workers_that_start_anew_give_the_same_bytes(trained: Path, tmp_path: Path) -> None:
    """As on a GPU and on other systems than Linux: they inherit nothing from the stage's process."""
    folder = tmp_path / "spawned"
    shutil.copytree(trained, folder, ignore=shutil.ignore_patterns("work", "models"))
    program = (
        "import os; del os.fork\nfrom longtail.pipeline import console\n"
        "from stages import represent; console.run(represent.main)"
    )
    done = python(folder, "-c", program, "50", "cross_entropy", "--jobs", "1")
    assert done.returncode == 0, done.stderr
    before, after = (
        {key: value for key, value in contents(root / MODELS).items() if not key.endswith("timing.json")}
        for root in (trained, folder)
    )
    assert after == before


def test_the_trainings_of_other_stages_are_run_ahead_of_them(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also heads, and an imbalance whose images are not drawn yet; with the bytes of their own stages."""
    folder, plain = tmp_path / "ahead", tmp_path / "plain"
    shutil.copytree(trained, folder, ignore=shutil.ignore_patterns("work", "models"))
    (folder / "params.yaml").write_text(PARAMS.replace("[50]", "[50, 10]"))
    run_stages(folder, "plan")
    few = ("cross_entropy", "cross_entropy-heads", "focal", "difficulty_net", "difficulty_net_lambda_0.3")
    for path in folder.glob("data/digits-lt/plan/imb*/evaluation.json"):
        plan = json.loads(path.read_text())
        plan["bundles"] = [bundle for bundle in plan["bundles"] if bundle["bundle"] in few]
        path.write_text(json.dumps(plan))
        heads = len(next(bundle for bundle in plan["bundles"] if bundle["bundle"] == few[1])["members"])
    alone = run_stage(folder, *REPRESENT, "--seed", "2").stdout
    assert "ahead" not in alone
    assert len(list((folder / "work").glob("*/finished"))) == 1
    shutil.copytree(folder, plain)
    monkeypatch.setenv("LONGTAIL_AHEAD", "1")
    ahead = run_stage(folder, *REPRESENT).stdout
    # two seeds of focal and Difficulty-Net (lambda = 0.3 is the same training), at 10 of cross-entropy, too
    assert f"{4 + 6 + 2 * heads} cells of other stages are trained ahead of them" in ahead
    assert "cross_entropy: 1 cell trained, 1 taken from work/" in ahead
    assert len(list((folder / "work").glob("*/finished"))) == 12 + 2 * heads
    assert [path.name for path in (folder / "models/digits-lt").rglob("imb*/*")] == ["cross_entropy"]
    monkeypatch.delenv("LONGTAIL_AHEAD")
    data = ("subsample 10", "extract_meta 10")
    networks = ("represent 50 cross_entropy", "represent 10 focal", "represent 50 difficulty_net_lambda_0.3")
    for root in (folder, plain):
        run_stages(root, *data)
        said = [run_stage(root, *words.split()).stdout for words in (*networks, "retrain 50 cross_entropy")]
        if root is folder:
            assert all(" 0 cells trained, " in text for text in said), said
    before, after = (
        {key: value for key, value in contents(root / "models").items() if not key.endswith("timing.json")}
        for root in (plain, folder)
    )
    assert after == before


def test_what_is_in_models_is_not_trained_ahead(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a clone that pulled its results: only the heads are open, on features from there."""
    folder = tmp_path / "pulled"
    shutil.copytree(trained, folder, ignore=shutil.ignore_patterns("work"))
    (folder / "params.yaml").write_text(f"{PARAMS}variants: [cross_entropy, focal]\n")
    run_stages(folder, "plan")
    plan = json.loads((folder / "data/digits-lt/plan/imb50/retrain/cross_entropy-heads.json").read_text())
    monkeypatch.setenv("LONGTAIL_AHEAD", "1")
    said = run_stage(folder, "represent", "50", "focal").stdout
    assert f"{2 * len(plan['heads'])} cells of other stages are trained ahead of them" in said
    assert "cross_entropy: 0 cells trained, 2 taken from work/" in run_stage(folder, *REPRESENT).stdout


@pytest.mark.parametrize(
    "command",
    [
        "repro",
        "--wait-for-lock repro -f",
        "repro own/dvc.yaml",
        "exp run -S lambda=0.6",
        "exp run --name=higher -S lambda=0.6 -S seeds=[1]",
    ],
)
def test_a_whole_pipeline_is_trained_ahead(command: str) -> None:
    assert names_no_stage(command.split())


@pytest.mark.parametrize(
    "command",
    [
        None,
        "repro represent@50",
        "repro -f own/dvc.yaml:represent@1",
        "repro --single-item represent@50",
        "repro --glob represent*",
        "exp run -S lambda=0.6 evaluate",
        "exp exec-run --infofile somewhere",
        "commit",
    ],
)
def test_what_may_be_one_stage_is_not_trained_ahead(command: str | None) -> None:
    assert not names_no_stage(command.split() if command else None)


def spoil_manifest(folder: Path) -> None:
    path = folder / "data/digits-lt/imb50/train.parquet"
    path.write_bytes(path.read_bytes()[:-50])


def spoil_seed(folder: Path) -> None:
    (folder / "params.yaml").write_text(PARAMS + "data_seed: 1\n")
    run_stages(folder, "prepare", "subsample 50")


def spoil_code(folder: Path) -> None:
    path = folder / "data/digits-lt/plan/imb50/represent/cross_entropy.json"
    plan = json.loads(path.read_text())
    plan["code"]["training/trainer.py"] = "0" * 64
    path.write_text(json.dumps(plan))


def spoil_features(folder: Path) -> None:
    path = folder / MODELS / "seed1" / "cell.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "fingerprint": "0" * 64}))
    path = path.with_name("fingerprint.json")
    facts = json.loads(path.read_text())
    facts["training"]["iterations"] = 7
    path.write_text(json.dumps(facts))


REPRESENT = ("represent", "50", "cross_entropy")
RETRAIN = ("retrain", "50", "cross_entropy")
WRONG = {
    "no such plan": (
        (*REPRESENT[:2], "nothing"),
        lambda folder: None,
        "imb50/represent/nothing.json: no such plan",
    ),
    "another imbalance": (("represent", "7", "cross_entropy"), lambda folder: None, "no such plan"),
    "no such seed": ((*REPRESENT, "--seed", "9"), lambda folder: None, "--seed 9: not planned"),
    "a head's bundle": ((*REPRESENT[:2], "cross_entropy-heads"), lambda folder: None, "stages.retrain"),
    "no such device": ((*REPRESENT, "--device", "tpu"), lambda folder: None, "'tpu' is not one of"),
    "truncated manifest": (REPRESENT, spoil_manifest, "train.parquet: not parquet, or truncated"),
    "meta set of another pool": (REPRESENT, spoil_seed, "meta.parquet: belongs to pool"),
    "changed code": (
        REPRESENT,
        spoil_code,
        "longtail/training/trainer.py has changed since; `dvc repro plan`",
    ),
    "features of another training": (
        RETRAIN,
        spoil_features,
        "seed1: of another training (training.iterations ",
    ),
    "no features": (RETRAIN, lambda folder: shutil.rmtree(folder / MODELS), "no such cell; run `dvc repro`"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_one_line_and_nothing_is_touched(name: str, trained: Path, tmp_path: Path) -> None:
    words, spoil, expected = WRONG[name]
    folder = tmp_path / "copy"
    shutil.copytree(trained, folder)
    spoil(folder)
    before = contents(folder)
    done = run_stage(folder, *words)
    assert done.code == 2
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: ")
    assert expected in done.stderr
    assert contents(folder) == before


@pytest.mark.parametrize("name", ["represent", "retrain"])
def test_the_methods_are_listed_with_a_line_each(tmp_path: Path, name: str) -> None:
    lines = run_stage(tmp_path, name, "--list-methods").stdout.splitlines()
    expected = [method for method, preset in METHODS.items() if preset.stage == name]
    assert [line.split()[0] for line in lines] == expected
    assert all(len(line) > 35 for line in lines)
