"""The one loop that trains: a training starts once a worker is free, its features exist and time is left.

`represent` and `retrain` train the cells of a bundle with it, `reproduce` whole programmes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from longtail.pipeline import console, paths
from longtail.pipeline.finished import fail_head, is_sound, training_seconds
from longtail.running.cell_folders import Failure, read_failure
from longtail.running.pace import Pace
from longtail.running.programme import Budget, Step, choose

if TYPE_CHECKING:
    from longtail.pipeline.signals import Signals
    from longtail.running.jobs import Job


class Executor(Protocol):
    """Runs jobs behind the interface of `concurrent.futures`; made for one call of `train`.

    Leaving its block waits for running jobs. After a signal or an exception they save and return.
    """

    @property
    def workers(self) -> int:
        """Jobs that run at once."""
        ...

    def submit(self, job: Job, finished: Path) -> Future[None]:
        """Train `job` into the folder `finished`, which appears whole or, after a signal, not at all."""
        ...

    @property
    def reached(self) -> Mapping[str, int]:
        """Iterations done of each job, by fingerprint."""
        ...

    @property
    def signals(self) -> Signals:
        """A signal noted there lets all jobs save and return."""
        ...

    def __enter__(self) -> Executor: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None: ...


Ended = Callable[[Step, Failure | None], str | None]
"""Called when a training ended, in this process; returns a line to print."""


def train(
    stage: str,
    steps: Sequence[Step],
    job_of: Callable[[Step], Job],
    executor: Executor,
    *,
    ended: Ended = lambda step, failure: None,
    sound: Collection[str] = (),
    optional: Collection[str] = (),
    budget: Budget | None = None,
    pace: Pace | None = None,
) -> list[Step]:
    """Train `steps`, in this order, as far as the budget allows; return those that were saved unfinished.

    A head waits for its features and fails with them.

    Args:
        stage: the name in front of each printed line.
        steps: none of them is finished yet.
        job_of: makes the job of a step, just before it starts.
        ended: see `Ended`.
        sound: fingerprints of finished trainings that heads may use.
        optional: fingerprints of trainings whose errors are ignored here: their own stages report them.
        budget: no training starts that would exceed it; when it is used up, running ones save and return.
        pace: speeds measured before.

    Raises:
        console.Stopped: after SIGTERM or Ctrl-C, once checkpoints are saved and all workers have left.
        MachineError: a worker was killed.
    """
    budget, pace = budget or Budget(None), pace or Pace()
    waiting, usable = list(steps), set(sound)
    begun = {step.fingerprint for step in steps if paths.checkpoint(step.fingerprint).is_file()}
    total = sum(step.training.iterations for step in steps)
    running: dict[Future[None], tuple[Step, float]] = {}
    used_up = False

    def end(step: Step, start: float) -> None:
        folder = paths.finished(step.fingerprint)
        failure = read_failure(folder)
        if failure is None:
            usable.add(step.fingerprint)
            seconds = training_seconds(folder)
            # a resumed training has the seconds of two runs
            beside = None if step.fingerprint in begun else time.monotonic() - start - seconds
            pace.measure(step, seconds, beside)
        say(ended(step, failure))
        if failure is not None:
            for head in [head for head in waiting if head.features == step.fingerprint]:
                waiting.remove(head)
                say(ended(head, fail_head(head, failure)))

    def say(line: str | None) -> None:
        if line is not None:
            shown.line(line)

    with console.progress(stage, total, "iterations") as shown, executor:
        while not executor.signals.received:
            while len(running) < executor.workers and (
                step := choose(waiting, usable, begun, pace, budget.left)
            ):
                waiting.remove(step)
                future = executor.submit(job_of(step), paths.finished(step.fingerprint))
                running[future] = step, time.monotonic()
            if not running:
                break
            done, _ = wait(running, timeout=0.25, return_when=FIRST_COMPLETED)
            active, reached = [step for step, _ in running.values()], executor.reached
            pace.watch(active, reached, time.monotonic())
            left = pace.left([*active, *waiting], reached, executor.workers)
            shown.reach(sum(reached.values()), None if left is None else min(left, budget.left))
            for future in done:
                error = future.exception()
                ignored = running[future][0].fingerprint in optional
                if error is not None and (isinstance(error, BrokenProcessPool) or not ignored):
                    raise error
                if error is not None:
                    running.pop(future)
                elif paths.finished(running[future][0].fingerprint).is_dir():  # not so after a signal
                    end(*running.pop(future))
            if running and budget.left <= 0:
                used_up = True
                executor.signals.stop()
    for (
        step,
        start,
    ) in running.values():  # the workers have left; some finished their training, others saved it
        if paths.finished(step.fingerprint).is_dir():
            end(step, start)
    if executor.signals.received and not used_up:
        cells = f", {len(steps)} cells" if len(steps) > 1 else ""
        where = f"iteration {sum(executor.reached.values())} of {total}{cells}"
        raise console.Stopped(executor.signals.received, where)
    return [step for step, _ in running.values() if not is_sound(step.fingerprint)]
