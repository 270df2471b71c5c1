"""Checkpoints: proven before the last one is given up, and never another cell's."""

import errno
import os
import resource
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from longtail.errors import InputError
from longtail.files import own_temporary, remove_leftovers
from longtail.running import checkpoints
from longtail.running.checkpoints import Checkpoints, SaveRhythm, read_checkpoint

CPU = torch.device("cpu")
FACTS = {"settings": {"lambda": 0.3}, "code": {"methods/focal.py": "a" * 64}}


def state_of(iteration: int) -> dict[str, Any]:
    weights = torch.arange(400.0) + iteration
    return {"iteration": iteration, "weights": {"a": weights}, "history": [{"loss": 0.5}]}


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def kept(tmp_path: Path, told: list[str]) -> Checkpoints:
    """After saves at iterations 3 and 6."""
    kept = Checkpoints(tmp_path / "work" / "checkpoint.pt", "mine", FACTS, told.append)
    kept.save(state_of(3))
    kept.save(state_of(6))
    return kept


def files(kept: Checkpoints) -> list[str]:
    return sorted(path.name for path in kept.path.parent.iterdir())


def iteration(kept: Checkpoints) -> int | None:
    found = kept.load(CPU)
    return None if found is None else found["iteration"]


def test_what_was_saved_comes_back_and_the_one_before_it_is_kept(kept: Checkpoints, told: list[str]) -> None:
    found = kept.load(CPU)
    assert found is not None
    assert torch.equal(found["weights"]["a"], state_of(6)["weights"]["a"])
    assert {**found, "weights": 0} == {**state_of(6), "weights": 0}
    assert read_checkpoint(kept.previous, CPU)["state"]["iteration"] == 3
    assert files(kept) == ["checkpoint.previous.pt", "checkpoint.pt"]
    assert told == []


def test_none_where_there_is_no_file(tmp_path: Path, told: list[str]) -> None:
    assert Checkpoints(tmp_path / "checkpoint.pt", "mine", FACTS, told.append).load(CPU) is None
    assert told == []


def test_another_trainings_is_left_alone_and_the_difference_is_named(
    kept: Checkpoints, told: list[str]
) -> None:
    facts = {"settings": {"lambda": 0.6}, "code": {"methods/focal.py": "b" * 64}}
    other = Checkpoints(kept.path, "another", facts, told.append)
    assert other.load(CPU) is None
    assert len(told) == 2
    assert "settings.lambda 0.3 there, 0.6 here; longtail/methods/focal.py changed" in told[0]
    assert iteration(kept) == 6


@pytest.mark.parametrize(("there", "here"), [(8, 4), (8, 1), (1, 8)])
def test_one_of_another_number_of_ranks_is_refused(there: int, here: int, tmp_path: Path) -> None:
    def of(ranks: int, seed: int = 1) -> Checkpoints:
        facts = {"seed": seed, **({"ranks": ranks} if ranks > 1 else {})}
        return Checkpoints(tmp_path / "checkpoint.pt", f"{ranks} {seed}", facts)

    of(there).save(state_of(3))
    names = [f"{ranks} ranks" if ranks > 1 else "1 process" for ranks in (there, here)]
    said = f"of this training with {names[0]}, which cannot be resumed with {names[1]}; start {names[0]}, or"
    with pytest.raises(InputError, match=said):
        of(here).load(torch.device("cpu"))
    assert of(there).load(torch.device("cpu")) is not None
    assert of(here, seed=2).load(torch.device("cpu")) is None  # another training altogether


def test_a_kill_between_the_two_renames_leaves_one_to_go_on_from(kept: Checkpoints, told: list[str]) -> None:
    kept.path.replace(kept.previous)
    assert iteration(kept) == 6
    assert told == []


def test_every_flipped_byte_and_every_truncation_is_noticed_and_the_one_before_it_used(
    kept: Checkpoints, told: list[str]
) -> None:
    content = kept.path.read_bytes()
    places = sorted({*range(0, 90), *range(90, len(content), 61), len(content) - 1})
    for place in places:
        kept.path.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
        assert iteration(kept) == 3
    for length in [*range(0, len(content), 97), len(content) - 1]:
        kept.path.write_bytes(content[:length])
        assert iteration(kept) == 3
    assert all("is damaged" in line for line in told)
    assert all("resuming from the previous one, iteration 3" in line for line in told)
    assert not any("\n" in line for line in told)
    kept.path.write_bytes(content)
    assert iteration(kept) == 6


def test_both_damaged_are_named_and_the_cell_starts_anew(kept: Checkpoints, told: list[str]) -> None:
    for path in (kept.path, kept.previous):
        path.write_bytes(path.read_bytes()[:-1])
    assert kept.load(CPU) is None
    assert [line.split(": ")[0] for line in told] == [str(kept.path), str(kept.previous)]
    assert told[1].endswith("; starting over")


class Sneaky:
    """Runs code when unpickled."""

    def __reduce__(self):
        return (Path.touch, (Path(os.environ["SNEAKY"]),))


def test_no_code_in_a_checkpoint_is_ever_run(
    kept: Checkpoints, told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = kept.path.with_name("ran")
    monkeypatch.setenv("SNEAKY", str(mark))
    try:
        kept.save({"iteration": 9, "bad": Sneaky()})  # with a checksum that is right
        assert iteration(kept) == 6
        assert "cannot be read" in told[0]
        assert not mark.exists()
    finally:
        mark.unlink(missing_ok=True)


@pytest.mark.parametrize("value", [[1, 2], {"fingerprint": "mine"}, {"state": {}}, "mine"])
def test_a_whole_file_of_another_form_is_no_checkpoint(
    kept: Checkpoints, told: list[str], value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = torch.save
    monkeypatch.setattr(torch, "save", lambda found, file: save(value, file))
    kept.save(state_of(9))
    assert iteration(kept) == 6
    assert "no state of a training in it" in told[0]


def test_a_state_that_cannot_be_written_leaves_both_and_nothing_else(kept: Checkpoints) -> None:
    with pytest.raises(Exception, match=r"pickle|Pickl|local"):
        kept.save({"bad": lambda: None})
    assert iteration(kept) == 6
    assert files(kept) == ["checkpoint.previous.pt", "checkpoint.pt"]


def test_a_write_that_does_not_come_back_as_it_was_leaves_both(
    kept: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync = os.fsync

    def decay(handle: int) -> None:
        fsync(handle)
        os.ftruncate(handle, os.fstat(handle).st_size - 1)

    monkeypatch.setattr(checkpoints.os, "fsync", decay)
    with pytest.raises(OSError, match="right after it was written") as caught:
        kept.save(state_of(9))
    assert caught.value.errno == errno.EIO
    assert iteration(kept) == 6
    assert files(kept) == ["checkpoint.previous.pt", "checkpoint.pt"]


def test_a_full_disk_leaves_both(kept: Checkpoints) -> None:
    """A limit on the size of files, as a disk that takes no more."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
        with pytest.raises(OSError, match="File too large") as caught:
            kept.save(state_of(9))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert caught.value.errno == errno.EFBIG
    assert iteration(kept) == 6
    assert files(kept) == ["checkpoint.previous.pt", "checkpoint.pt"]


def test_what_a_killed_process_left_is_removed_and_what_a_live_one_writes_is_not(kept: Checkpoints) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    host = os.uname().nodename
    dead = kept.path.with_name(f".checkpoint.pt-{gone.pid}@{host}")
    dead.write_bytes(b"half")
    folder = kept.path.with_name(f".finished-{gone.pid}@{host}")
    (folder / "below").mkdir(parents=True)
    mine = own_temporary(kept.path)
    mine.write_bytes(b"half")
    others = [kept.path.with_name(name) for name in (".name-x1", f".checkpoint.pt-{gone.pid}@not-{host}")]
    for other in others:
        other.write_bytes(b"")
    remove_leftovers(kept.path.parent)
    assert not dead.exists()
    assert not folder.exists()
    assert mine.exists()
    assert all(other.exists() for other in others), "another host's processes are not known here"


class Clock:
    """Stands in for `time`."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


def saves(
    clock: Clock, pace: SaveRhythm, epochs: int, iterations: int, each: float, cost: float
) -> list[float]:
    """When a training saves whose iterations take `each` seconds and whose saves take `cost`."""
    found = []
    for done in range(1, epochs * iterations + 1):
        clock.now += each
        if pace.due(between_epochs=done % iterations == 0):
            since = clock.now
            found.append(clock.now - 100)
            clock.now += cost
            pace.saved(since)
    return found


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(checkpoints, "time", clock)
    return clock


def test_each_epoch_is_saved_where_that_costs_less_than_a_hundredth(clock: Clock) -> None:
    assert len(saves(clock, SaveRhythm(0.01, 300.0), epochs=20, iterations=10, each=0.5, cost=0.04)) == 20


def test_short_epochs_are_saved_as_often_as_a_hundredth_of_the_time_allows(clock: Clock) -> None:
    found = saves(clock, SaveRhythm(0.01, 300.0), epochs=2000, iterations=5, each=0.01, cost=0.02)
    assert 0.02 * len(found) <= 0.01 * found[-1] + 0.02
    assert max(later - before for before, later in pairwise(found)) < 3.1


def test_long_epochs_and_slow_disks_never_lose_more_than_five_minutes(clock: Clock) -> None:
    for cost in (0.1, 30.0):
        clock.now = 100.0
        found = saves(clock, SaveRhythm(0.01, 300.0), epochs=2, iterations=4000, each=1.0, cost=cost)
        assert max(later - before for before, later in pairwise([0.0, *found])) <= 301 + cost


def test_saving_takes_time_in_proportion_to_the_file(kept: Checkpoints) -> None:
    since = time.monotonic()
    kept.save(state_of(9))
    pace = SaveRhythm(0.01, 300.0)
    pace.saved(since)
    assert pace.expected > 0
    assert not pace.due(between_epochs=True), "a hundred times as long must pass first"
