"""The scheduler: order, dependencies, failures and the budget, with an executor that trains nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from longtail.config.benchmarks import DIGITS_LT
from longtail.config.params import Params
from longtail.pipeline import console, paths
from longtail.pipeline.devices import cores, worker_count
from longtail.pipeline.finished import is_sound
from longtail.pipeline.scheduler import train
from longtail.planning.planner import plan_bundles
from longtail.running.cell_folders import Failure, read_failure
from longtail.running.pace import Pace
from longtail.running.programme import Budget, Step, programme, select_cells


class Immediate:
    """Finishes each job when it is submitted; those in `failing` fail, those in `raising` raise, and those in
    `endless` train until they are stopped."""

    def __init__(
        self,
        workers: int = 1,
        failing: tuple[str, ...] = (),
        raising: tuple[str, ...] = (),
        endless: tuple[str, ...] = (),
    ) -> None:
        self.workers, self.failing, self.raising, self.endless = workers, failing, raising, endless
        self.open: list[Future[None]] = []
        self.submitted: list[str] = []
        self.reached: dict[str, int] = {}
        self.signals = self
        self.received = 0
        self.on_submit: Callable[[str], None] = lambda name: None

    def submit(self, job: Any, finished: Path) -> Future[None]:
        self.submitted.append(job.name)
        self.on_submit(job.name)
        future: Future[None] = Future()
        if job.name in self.endless:
            self.open.append(future)
        elif job.name in self.raising:
            future.set_exception(ValueError(f"{job.name} raised"))
        elif not self.received:
            finished.mkdir(parents=True)
            (finished / "timing.json").write_text(json.dumps({"seconds": 2.0}))
            if job.name in self.failing:
                Failure(job.fingerprint, "not finite", 3, "digits_resnet").write(finished)
            self.reached[job.fingerprint] = job.training.iterations
            future.set_result(None)
        else:
            future.set_result(None)  # it saved, and returned
        return future

    def stop(self) -> None:
        self.received = 15
        for future in self.open:
            future.set_result(None)

    def __enter__(self) -> Immediate:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        pass


@pytest.fixture
def steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Step]:
    """Cross-entropy, Difficulty-Net and a head on each, seed 1."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    params = Params.model_validate({"lambda": 0.3, "seeds": [1], "imbalances": {"digits-lt": [50]}})
    plans = plan_bundles(DIGITS_LT, params)
    rows = ["cross_entropy-las", "difficulty_net-las"]
    return programme(plans, select_cells(plans, rows, [50], [1]), {})


CE, DN = "imb50-cross_entropy-seed1", "imb50-difficulty_net-seed1"
CE_LAS, DN_LAS = "imb50-cross_entropy-las-seed1", "imb50-difficulty_net-las-seed1"


def run(steps: list[Step], executor: Immediate, **more: Any) -> list[str]:
    """Names of the trainings that were saved unfinished."""
    return [step.name for step in train("represent", steps, lambda step: step, executor, **more)]  # type: ignore[arg-type, return-value]


def test_trainings_start_in_order_and_heads_after_their_features(steps: list[Step]) -> None:
    executor, ended = Immediate(), []
    assert run(steps[::-1], executor, ended=lambda step, failure: ended.append((step.name, failure))) == []
    assert set(executor.submitted) == {CE, DN, CE_LAS, DN_LAS}
    for head, features in ((CE_LAS, CE), (DN_LAS, DN)):
        assert executor.submitted.index(features) < executor.submitted.index(head)
    assert ended == [(name, None) for name in executor.submitted]
    assert all(is_sound(step.fingerprint) for step in steps)


def test_a_head_may_use_features_that_were_finished_before(steps: list[Step]) -> None:
    (features,) = [step for step in steps if step.name == CE]
    heads = [step for step in steps if step.name == CE_LAS]
    executor = Immediate()
    run(heads, executor)
    assert executor.submitted == []  # its features are not there
    run(heads, executor, sound={features.fingerprint})
    assert executor.submitted == [CE_LAS]


def test_a_head_fails_with_its_features_and_the_others_go_on(steps: list[Step]) -> None:
    executor, ended = Immediate(failing=(CE,)), {}
    run(steps, executor, ended=lambda step, failure: ended.update({step.name: failure}))
    assert set(executor.submitted) == {CE, DN, DN_LAS}
    assert ended[CE].reason == "not finite"
    assert ended[CE_LAS].reason == "its features failed: not finite"
    assert (ended[DN], ended[DN_LAS]) == (None, None)
    (head,) = [step for step in steps if step.name == CE_LAS]
    assert read_failure(paths.finished(head.fingerprint)) == ended[CE_LAS]


def test_an_error_ends_the_stage_unless_the_training_belongs_to_another_one(steps: list[Step]) -> None:
    with pytest.raises(ValueError, match=f"{CE} raised"):
        run(steps, Immediate(raising=(CE,)))
    (failed,) = [step for step in steps if step.name == CE]
    executor = Immediate(raising=(CE,))
    run(steps, executor, optional={failed.fingerprint})
    assert set(executor.submitted) == {CE, DN, DN_LAS}  # the head of what raised never starts


def test_the_budget_skips_what_would_exceed_it(steps: list[Step]) -> None:
    executor, pace = Immediate(), Pace()
    for step in steps:
        pace.measure(step, 100.0 if step.method == "difficulty_net" else 10.0)
    run(steps, executor, budget=Budget(1, clock=lambda: 0.0), pace=pace)
    assert set(executor.submitted) == {CE, CE_LAS}


def test_a_budget_that_is_used_up_saves_what_trains(steps: list[Step]) -> None:
    now = [0.0]
    executor = Immediate(workers=2, endless=(DN,))
    executor.on_submit = lambda name: now.__setitem__(0, 61.0 if name == DN else now[0])
    saved = run(steps, executor, budget=Budget(1, clock=lambda: now[0]))
    assert saved == [DN]
    assert DN_LAS not in executor.submitted


def test_a_signal_ends_with_what_was_reached(steps: list[Step]) -> None:
    executor = Immediate()
    executor.on_submit = lambda name: executor.stop() if name == DN else None
    order = [step for step in steps if step.name in (CE, DN)]
    order.sort(key=lambda step: step.name != CE)
    with pytest.raises(console.Stopped) as stopped:
        run(order, executor)
    total = sum(step.training.iterations for step in order)
    assert stopped.value.where == f"iteration {order[0].training.iterations} of {total}, 2 cells"


@pytest.mark.parametrize(
    ("jobs", "device", "trainings", "expected"),
    [
        (0, "cuda", 9, 1),
        (0, "cpu", 1, 1),
        (0, "cpu", 2 * cores(), 2 * cores()),
        (0, "cpu", 2 * cores() + 1, cores()),
        (3, "cpu", 100, 3),
        (3, "cuda", 2, 2),
    ],
)
def test_jobs_has_one_rule(jobs: int, device: str, trainings: int, expected: int) -> None:
    assert worker_count(jobs, device, trainings) == expected
