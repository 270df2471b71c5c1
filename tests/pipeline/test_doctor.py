"""`longtail doctor` on the smallest network, and the hours that it and the dry run print."""

import json
from pathlib import Path

import pytest
import torch

from longtail.config.benchmarks import CIFAR100_LT, DIGITS_LT, IMAGENET_LT
from longtail.config.layouts import read_layouts
from longtail.config.params import read_params
from longtail.errors import InputError
from longtail.pipeline import doctor
from longtail.pipeline.hours import hours
from longtail.pipeline.reproduce import show
from longtail.planning.planner import plan_bundles
from longtail.running.pace import image_passes
from longtail.running.programme import Step, programme, select_cells
from longtail.running.speeds import Speeds, read_speeds
from longtail.running.trials import Trial, seconds_per_iteration
from longtail.training.precision import PRECISIONS

PARAMS = "lambda: 0.3\nimbalances: {digits-lt: [50, 10]}\nseeds: [1, 2]\n"
SLOW = {"cross_entropy": 0.5, "difficulty_net": 0.25}
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "params.yaml").write_text(PARAMS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    return tmp_path


def speeds(**changes: object) -> Speeds:
    facts = {"device": "cpu", "hardware": "a machine", "torch": "2", "date": "2026-11-25"}
    return Speeds.model_validate({**facts, "seconds_per_pass": {"digits_resnet": SLOW}, **changes})


def steps_of(*rows: str, imbalance: float = 50, seeds: tuple[int, ...] = (1,)) -> list[Step]:
    plans = plan_bundles(DIGITS_LT, read_params())
    return programme(plans, select_cells(plans, rows, [imbalance], seeds), {})


def seconds(step: Step) -> float:
    return SLOW[step.method] * image_passes(step) * step.training.iterations


def in_hours(value: float) -> str:
    assert value > 6000
    return f"{value / 3600:.1f} h"


def test_hours_are_iterations_times_their_measured_time() -> None:
    steps = steps_of("cross_entropy", "difficulty_net", seeds=(1, 2))
    each = [seconds(step) for step in steps]
    assert len(each) == 4
    assert hours(steps, speeds(), 1) == f"{in_hours(sum(each))} alone"
    assert hours(steps, speeds(), 4) == f"{in_hours(sum(each))} alone, {in_hours(max(each))} on 4 workers"


def test_other_methods_are_estimated_by_their_passes_on_the_same_network() -> None:
    (step,) = steps_of("focal")
    known = speeds(seconds_per_pass={"digits_resnet": SLOW, "resnet32": {"cross_entropy": 1e6}})
    expected = (0.5 + 0.25) / 2 * image_passes(step) * step.training.iterations
    assert hours([step], known, 1) == f"{in_hours(expected)} alone"


def test_without_a_measurement_of_the_network_no_hours_are_made_up() -> None:
    steps = steps_of("cross_entropy")
    for none in (None, speeds(seconds_per_pass={"resnet32": SLOW})):
        assert hours(steps, none, 2) == "hours not known; `longtail doctor` measures them"
    assert hours([], None, 2) == "nothing to train"


def test_the_dry_run_prints_the_same_hours(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    steps = steps_of("cross_entropy", "difficulty_net")
    speeds().write(folder / "work/speeds.json")
    for device in ("auto", "cpu"):
        show(steps, device, 3)
        assert f"reproduce    to train: {hours(steps, speeds(), 2)}\n" in capsys.readouterr().out
    show(steps, "cuda", 3)
    assert "hours not known" in capsys.readouterr().out


def test_a_damaged_measurement_is_one_line(folder: Path) -> None:
    path = folder / "work/speeds.json"
    speeds().write(path)
    assert read_speeds(path) == speeds()
    path.write_text(json.dumps({"device": "cpu"}))
    with pytest.raises(InputError, match=r"speeds\.json: .*run `longtail doctor` again"):
        read_speeds(path)
    assert read_speeds(folder / "none") is None


def test_the_trainings_of_a_table_are_its_rows_at_its_imbalances() -> None:
    tables = {table.number: table for table in read_layouts().tables}
    params = read_params()
    first = doctor._steps(DIGITS_LT, tables[1], params)
    assert {step.plan.imbalance for step in first} == {50, 10}
    assert {cell.head for step in first for _, cell in step.cells} >= {None, "crt", "las"}
    fewer = doctor._steps(DIGITS_LT, tables[1], params.model_copy(update={"variants": ["focal"]}))
    assert [step.fingerprint for step in fewer] == [step.fingerprint for step in first]
    third = doctor._steps(DIGITS_LT, tables[3], params)
    assert tables[3].columns == "groups"
    assert {step.plan.imbalance for step in third} == {50}
    assert len({step.fingerprint for step in first}) == len(first) > len(third)


@pytest.mark.parametrize(("benchmark", "images"), [(DIGITS_LT, 32), (CIFAR100_LT, 32), (IMAGENET_LT, 4)])
def test_a_trial_has_the_shapes_of_its_benchmark(benchmark: object, images: int) -> None:
    assert isinstance(benchmark, type(DIGITS_LT))
    trial = Trial.fitting(benchmark, benchmark.networks[0], "cross_entropy", CPU)
    assert (trial.batch, trial.meta) == (images, images)
    assert trial.image_passes == 3 * images
    full = Trial.fitting(benchmark, benchmark.networks[0], "cross_entropy", torch.device("cuda"))
    assert full.batch == benchmark.represent.batch_size
    if benchmark is not IMAGENET_LT:
        trainer = trial.trainer(CPU)
        assert trainer.data.meta.pixels.shape[1:] == torch.Size(
            [benchmark.image_shape[2], *benchmark.image_shape[:2]]
        )


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_trial_trains_within_one_epoch(precision: str) -> None:
    trainer = Trial(DIGITS_LT, "digits_resnet", "difficulty_net", 16, 8).trainer(CPU, precision)
    assert seconds_per_iteration(trainer) > 0
    assert trainer.iteration > 2
    assert len(trainer.history.rows) == 1


def test_doctor_examines_the_machine(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    digits = ("digits_resnet", DIGITS_LT)
    monkeypatch.setattr(doctor, "_networks", lambda: iter([digits]))
    table = read_layouts().tables[0]
    monkeypatch.setattr(doctor, "_tables", lambda: iter([(DIGITS_LT, table)]))
    threads = torch.get_num_threads()
    try:
        doctor.examine("cpu", 2)
    finally:
        torch.set_num_threads(threads)
    said = capsys.readouterr().out
    checks = [line.split()[1] for line in said.splitlines()]
    assert checks == [
        "versions", "devices", "disk", "decoding", "graphs", "determinism", "speed", "speed", "hours", "done:"
    ]  # fmt: skip
    assert "the same training twice gave the same bytes" in said
    found = read_speeds(folder / "work/speeds.json")
    assert found is not None
    steps = doctor._steps(DIGITS_LT, table, read_params())
    assert f"{len(steps)} trainings, {hours(steps, found, 2)}\n" in said
    # the slower training has more passes, not slower ones
    own = found.seconds_per_pass["digits_resnet"]
    assert 0.1 < own["cross_entropy"] / own["difficulty_net"] < 10


def test_doctor_notices_a_training_that_is_not_repeatable(monkeypatch: pytest.MonkeyPatch) -> None:
    made, factors = Trial.trainer, iter((1.0, 1.001))

    def shaken(self: Trial, device: torch.device) -> object:
        trainer = made(self, device)
        with torch.no_grad():
            next(trainer.model.parameters()).mul_(next(factors))
        return trainer

    monkeypatch.setattr(Trial, "trainer", shaken)
    assert "LONGTAIL_DETERMINISTIC=1" in doctor._determinism(CPU)
