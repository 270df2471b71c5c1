"""Trainings killed repeatedly with SIGKILL, compared byte for byte with an undisturbed one.

    python -m benchmarks.kills

Each training on digits-LT runs in a forked process. It is killed at points drawn from a seed: at any time;
between the meta step and the main step; while a file is half written, a checkpoint proven or renamed;
while the meta set is measured; while the test images are predicted; before and after the finished folder gets
its name. It is started again, and killed again, until it ends; then weights, history, predictions and facts
are compared. Checkpoints are written after each iteration, or each 30 ms.
"""

import argparse
import os
import random
import shutil
import signal
import tempfile
import threading
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.machine import described
from longtail.config.benchmarks import DIGITS_LT
from longtail.config.params import Params
from longtail.data.manifests import draw_meta, draw_train
from longtail.data.pools import draw_pool
from longtail.data.sources import SOURCES
from longtail.pipeline.workers import train_job
from longtail.planning.fingerprints import fingerprint
from longtail.planning.planner import plan_bundles
from longtail.running.jobs import CellInputs, Job

RESULTS = Path(__file__).parent / "results" / "kills.md"
IMBALANCE = 50.0
COUNTS = [114, 73, 47, 30, 20, 12, 8, 5, 3, 2]
KINDS: dict[str, tuple[str, str | None]] = {
    "cross_entropy": ("cross_entropy", None),
    "difficulty_net": ("difficulty_net", None),
    "paco": ("paco", None),
    "dro_lt": ("dro_lt", None),
    "cross_entropy + crt": ("cross_entropy", "crt"),
    "cross_entropy + balms": ("cross_entropy", "balms"),
}
"""Plain, class-level meta, momentum and queue, centroids, frozen features, and these with a meta sampler."""

POINTS = {
    "any time": "at any time",
    "step": "between meta step and main step",
    "half": "a checkpoint or a result half written",
    "proof": "a checkpoint written, not proven",
    "rename": "between the names of two checkpoints",
    "measure": "while the meta set is measured",
    "predict": "while the test images are predicted",
    "finish": "before or after the folder gets its name",
}


def digits() -> CellInputs:
    """digits-LT at imbalance 50."""
    source = SOURCES["digits"].read(None, Path(), lambda count: None)
    pool = draw_pool(source, benchmark="digits-lt", data_seed=0, test_per_class=50)
    train, meta = draw_train(pool, IMBALANCE, COUNTS, 10), draw_meta(pool, IMBALANCE, 10)
    return CellInputs(pool=pool, images=source.images, train=train, meta=meta)


def job_of(kind: str, inputs: CellInputs, fraction: float, work: Path) -> tuple[Job, Path]:
    """The training of a kind, with `fraction` of its schedule, and the folder that it is to fill."""
    variant, head = KINDS[kind]
    params = Params.model_validate(
        {
            "lambda": 0.3,
            "imbalances": {"digits-lt": [IMBALANCE]},
            "seeds": [1],
            "schedule": {"fraction": fraction},
        }
    )
    bundle = f"{variant}-heads" if head else variant
    plan = next(plan for plan in plan_bundles(DIGITS_LT, params) if plan.bundle == bundle)
    cell = next(cell for cell in plan.cells() if cell.head == head)
    mark = fingerprint(plan, cell, inputs.fingerprints)
    features = None
    if head:
        below, features = job_of(variant, inputs, fraction, work)
        if not features.is_dir():
            train_job(below, features, inputs)
    folder = work / mark
    return Job(plan, cell, mark, features=features, checkpoint=folder / "checkpoint.pt"), folder / "finished"


def contents(folder: Path) -> dict[str, bytes]:
    """The contents of a cell without its duration."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.name != "timing.json"}


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _at(call: int, function: Callable[..., Any], before: Callable[..., None]) -> Callable[..., Any]:
    """`function`, but `before` is called ahead of its `call`-th call."""
    calls = 0

    def counted(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            before(*arguments)
        return function(*arguments, **named)

    return counted


def set_trap(point: str, draws: random.Random, seconds: float) -> None:
    """In the process to be killed: wait for it at `point`; an undisturbed training takes `seconds`."""
    from longtail import files
    from longtail.running import cells, checkpoints
    from longtail.training import optimisers, trainer

    def die(*arguments: Any) -> None:
        _die()

    def die_half_written(handle: int) -> None:
        # by its name: some files are only open for reading here
        os.truncate(f"/proc/self/fd/{handle}", int(os.fstat(handle).st_size * draws.random()))
        _die()

    if point == "any time":
        timer = threading.Timer(draws.uniform(0, seconds), _die)
        timer.daemon = True
        timer.start()
    elif point == "step":
        optimisers.SGD.step = _at(draws.randint(1, 6), optimisers.SGD.step, die)
    elif point == "half":
        checkpoints.os.fsync = _at(draws.randint(1, 3), os.fsync, die_half_written)
    elif point == "proof":
        # the first calls may be those of a resume, which reads up to two checkpoints
        checkpoints.read_payload = _at(draws.randint(2, 5), checkpoints.read_payload, die)
    elif point == "rename":
        Path.replace = _at(draws.randint(1, 5), Path.replace, die)  # type: ignore[method-assign]
    elif point == "measure":
        trainer.predict = _at(draws.randint(1, 2), trainer.predict, die)
    elif point == "predict":
        cells.predict = _at(draws.randint(1, 2), cells.predict, die)
    elif draws.random() < 0.5:
        files.move_whole = _at(1, files.move_whole, die)
    else:
        checkpoints.Checkpoints.remove = _at(1, checkpoints.Checkpoints.remove, die)


def forked(work: Callable[[], None]) -> bool:
    """Run `work` in a process of its own; whether it came to its end. Raises where it failed otherwise."""
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", DeprecationWarning
        )  # of threads: the parent computes nothing meanwhile
        child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return False
    if status:
        raise RuntimeError(f"a training failed by itself, with status {status}")
    return True


@dataclass
class Tally:
    """What happened to one kind of training."""

    kills: Counter[str] = field(default_factory=Counter)
    """By point."""
    begun: int = 0
    """Trainings that were begun, killed any number of times, and ended."""
    half: int = 0
    """Kills that left an unfinished checkpoint."""
    equal: int = 0
    """Trainings that ended with the bytes of the undisturbed one."""


def harass(kind: str, inputs: CellInputs, work: Path, fraction: float, kills: int, seed: int) -> Tally:
    """Kill trainings of `kind` so many times, in all, and compare each with an undisturbed one."""
    draws = random.Random(f"{seed}/{kind}")
    job, finished = job_of(kind, inputs, fraction, work)
    quiet = work / "undisturbed" / job.fingerprint
    start = time.monotonic()
    assert forked(lambda: train_job(replace(job, checkpoint=None), quiet / "finished", inputs))
    seconds, expected = time.monotonic() - start, contents(quiet / "finished")

    tally, points = Tally(begun=1), list[str]()
    while True:
        points = points or draws.sample(list(POINTS), len(POINTS))
        point = points.pop() if tally.kills.total() < kills else None
        trap_seed, pause = draws.random(), draws.choice((0.0, 0.03))

        def attempt(point: str | None = point, trap_seed: float = trap_seed, pause: float = pause) -> None:
            if point is not None:
                set_trap(point, random.Random(trap_seed), seconds)
            if not finished.is_dir():
                train_job(replace(job, checkpoint_seconds=pause), finished, inputs)

        if not forked(attempt):
            tally.kills[point or ""] += 1
            tally.half += bool(list(finished.parent.glob(".checkpoint.pt-*")))
            continue
        tally.equal += contents(finished) == expected
        shutil.rmtree(finished.parent)
        if tally.kills.total() >= kills:
            return tally
        tally.begun += 1


def report(tallies: dict[str, Tally], fraction: float) -> str:
    """The table, in Markdown."""
    total = sum(tally.kills.total() for tally in tallies.values())
    begun = sum(tally.begun for tally in tallies.values())
    equal = sum(tally.equal for tally in tallies.values())
    half = sum(tally.half for tally in tallies.values())
    lines = [
        "# Trainings killed with SIGKILL",
        "",
        f"`python -m benchmarks.kills`: {described()}. digits-LT at imbalance {IMBALANCE:g}, "
        f"{fraction:g} of the schedule.",
        "",
        f"{total} kills of {begun} trainings, each started again until it ended: **{equal} of {begun} ended "
        f"in the bytes of an undisturbed training** (weights, history, predictions, facts). After {half} of "
        "the kills an unfinished checkpoint lay about.",
        "",
        "| killed | " + " | ".join(tallies) + " |",
        "| --- |" + " --- |" * len(tallies),
    ]
    for point, text in POINTS.items():
        lines.append(
            f"| {text} | " + " | ".join(str(tally.kills[point]) for tally in tallies.values()) + " |"
        )
    for text, name in (("trainings", "begun"), ("equal", "equal"), ("unfinished checkpoints", "half")):
        lines.append(f"| {text} | " + " | ".join(str(getattr(t, name)) for t in tallies.values()) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Print the table and write it to `benchmarks/results/kills.md`."""
    import torch

    from longtail.meta.tangents import load_forward_mode

    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--kills", type=int, default=25, help="of each kind of training (default 25)")
    options.add_argument("--fraction", type=float, default=0.06, help="of the schedule (default 0.06)")
    options.add_argument("--seed", type=int, default=1)
    chosen = options.parse_args()
    torch.set_num_threads(1)
    load_forward_mode()
    inputs, tallies = digits(), {}
    with tempfile.TemporaryDirectory() as work:
        for kind in KINDS:
            tallies[kind] = harass(kind, inputs, Path(work), chosen.fraction, chosen.kills, chosen.seed)
            print(kind, tallies[kind], flush=True)
    text = report(tallies, chosen.fraction)
    print(text)
    RESULTS.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
