"""Recorded iterations: what a CUDA graph does on a GPU, done on the CPU by a tape of all operations.

Learning rates are powers of two, by which numbers and tensors of float32 multiply alike.
"""

import gc
import re
import weakref
from collections import deque
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from longtail.config.presets import METHODS
from longtail.config.training import Steps
from longtail.methods import find_method
from longtail.methods.difficulty_net import DifficultyNetMethod
from longtail.running.process import release_memory, use_deterministic
from longtail.training.graphs import PLAIN_FIRST, Replays, own_stream
from longtail.training.post_hoc import PostHocHead
from longtail.training.throttle import LEAD, Throttle
from longtail.training.trainer import Trainer
from tests.support.small_training import make_trainer
from tests.support.tape import Tape, tape_recorder

SCHEDULE = Steps(start=0.25, peak=0.25, warmup=1, milestones=(8, 16), factor=0.5)
REPLAYABLE = [name for name in METHODS if find_method(name).replayable]
POST_HOC = {name for name in METHODS if issubclass(find_method(name), PostHocHead)}
OTHERS = {"balms", "cb_da", "dro_lt", "eql", "ldam", "mixup", "paco"} | POST_HOC
"""Some draw anew in each iteration, some change their rule within a training, some train nothing."""


def trainer(name: str, recorded: bool = False, schedule: Steps = SCHEDULE, **settings: Any) -> Trainer:
    made = make_trainer(name, settings, schedule=schedule, iterations=18)
    if recorded:
        made.replays = Replays(tape_recorder)
    return made


def same(one: Any, other: Any) -> bool:
    """Bit by bit, NaN like NaN."""
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return str(one) == str(other)


def states(*trainers: Trainer) -> list[dict[str, Any]]:
    found = []
    for own in trainers:
        own.run()
        found.append({key: value for key, value in own.state().items() if key != "seconds"})
    return found


@pytest.mark.parametrize("name", REPLAYABLE)
def test_a_replayed_training_is_the_plain_one_bit_by_bit(name: str) -> None:
    recorded = trainer(name, recorded=True)
    one, other = states(trainer(name), recorded)
    assert same(one, other)
    replays = recorded.replays
    assert replays is not None
    assert replays.refusal is None
    assert 18 - sum(replays.plain.values()) > 6, "replayed iterations, in all"
    assert set(replays.plain.values()) <= {1, PLAIN_FIRST}


@pytest.mark.parametrize(
    "settings",
    [
        {"meta_gradient": "detached"},
        {"loss": "balanced_softmax", "weighting": "averaged"},
        {"difficulty": "absolute", "driver_loss": False},
    ],
)
def test_so_are_the_variants_of_difficulty_net(settings: dict[str, Any]) -> None:
    one, other = states(trainer("difficulty_net", **settings), trainer("difficulty_net", True, **settings))
    assert same(one, other)


def test_a_training_goes_on_from_a_state_in_the_middle_of_an_epoch() -> None:
    """At any learning rates: what is replayed in one of the two runs need not be in the other."""
    rates = Steps(start=0.1, peak=0.2, warmup=7, milestones=(13,))
    whole, begun, resumed = (trainer("difficulty_net", True, rates) for _ in range(3))
    running = begun.iterations()
    for _ in range(11):
        next(running)
    resumed.load_state(begun.state())
    assert same(*states(whole, resumed))


def watched(record: Any, name: str = "difficulty_net") -> tuple[Trainer, list[str]]:
    """A trainer with this recorder, and what it warns of."""
    made, lines = trainer(name), list[str]()
    made.replays = Replays(record, warn=lines.append)
    return made, lines


def assert_it_stays_plain(made: Trainer, lines: list[str], reason: str) -> None:
    """From the start or later, with the plain training's bytes, one warning, and a line for `timing.json`."""
    one, other = states(trainer("difficulty_net"), made)
    assert same(one, other)
    replays = made.replays
    assert replays is not None
    assert not replays.replays
    assert re.search(reason, replays.told)
    assert lines == [f"iterations are not replayed, which costs time only: {replays.told}"]


def test_what_does_not_keep_its_place_in_memory_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: accuracies in a new tensor after each epoch, as a graph would never see them."""

    def replaced(self: DifficultyNetMethod, accuracy: Tensor) -> None:
        self.accuracy = accuracy.to(self.accuracy)

    monkeypatch.setattr(DifficultyNetMethod, "refresh", replaced)
    assert_it_stays_plain(*watched(tape_recorder), r"differs from a plain one: \S+ by \d\.\de[+-]\d+ of its")


def test_without_the_comparison_it_would_change_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """So the control above is one."""

    def replaced(self: DifficultyNetMethod, accuracy: Tensor) -> None:
        self.accuracy = accuracy.to(self.accuracy)

    monkeypatch.setattr(DifficultyNetMethod, "refresh", replaced)
    monkeypatch.setattr(Replays, "refreshed", lambda self: None)
    one, other = states(trainer("difficulty_net"), trainer("difficulty_net", recorded=True))
    assert not same(one["model"], other["model"])


def skips_the_last(tape: Tape, model: torch.nn.Module) -> None:
    tape.calls.pop()


def changes_a_weight(tape: Tape, model: torch.nn.Module) -> None:
    weight = next(model.parameters()).detach()
    tape.calls.append((torch.Tensor.mul_, (weight, 1.001), {}, [weight]))


def makes_nan(tape: Tape, model: torch.nn.Module) -> None:
    weight = next(model.parameters()).detach()
    tape.calls.append((torch.Tensor.mul_, (weight, float("nan")), {}, [weight]))


def fails(tape: Tape, model: torch.nn.Module) -> None:
    def fail() -> None:
        raise RuntimeError("an illegal memory access")

    tape.calls.append((fail, (), {}, []))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (skips_the_last, "differs from a plain one: "),
        (changes_a_weight, r"differs from a plain one: model\.conv\.weight by "),
        (makes_nan, r"differs from a plain one: model\.conv\.weight by inf of its change"),
        (fails, "^a replay failed: an illegal memory access$"),
    ],
)
@pytest.mark.parametrize("number", [1, 2])
def test_a_wrong_or_failing_replay_changes_nothing(spoil: Any, reason: str, number: int) -> None:
    """Of the first shape or of the second."""
    recorded: list[Tape] = []

    def record(function: Any) -> Any:
        with Tape() as tape:
            results = function()
        tape.undo()
        recorded.append(tape)
        if len(recorded) == number:
            spoil(tape, made.model)
        return results, tape.replay

    made, lines = watched(record)
    assert_it_stays_plain(made, lines, reason)
    assert len(recorded) == number


def test_a_recorder_that_fails_in_any_way_changes_nothing() -> None:
    def record(function: Any) -> Any:
        raise AssertionError("capture_stream must not be None")

    assert_it_stays_plain(*watched(record), "^capture_stream must not be None$")


def test_rounding_that_plain_iterations_have_too_is_no_difference() -> None:
    """As on a GPU, where sums have no fixed order."""
    made, lines = watched(tape_recorder, "cross_entropy")
    draws = torch.Generator().manual_seed(1)
    step = made.optimiser.step

    def shaken(rate: Any) -> None:
        for parameter in made.optimiser.parameters:
            assert parameter.grad is not None
            parameter.grad *= 1 + 1e-6 * torch.randn(parameter.grad.shape, generator=draws)
        step(rate)

    made.optimiser.step = shaken  # type: ignore[method-assign]
    made.run()
    replays = made.replays
    assert replays is not None
    assert (replays.refusal, lines) == (None, [])
    assert 0 < replays.difference < 1e-3
    assert replays.told == f"iterations of 2 shapes, up to {replays.difference:.1e} from plain ones"


def test_whoever_asks_for_the_iteration_is_not_recorded_and_trains_all_the_same() -> None:
    recorded = trainer("eql", recorded=True)
    one, other = states(trainer("eql"), recorded)
    assert same(one, other)
    assert recorded.replays is not None
    assert recorded.replays.refusal == "a replayable method must not read iteration"
    assert not recorded.replays.replays


def test_after_a_refused_second_shape_the_first_is_no_longer_replayed() -> None:
    recorded, shapes = trainer("difficulty_net"), []

    def record(function: Any) -> Any:
        shapes.append(1)
        if len(shapes) == 2:
            raise RuntimeError("no second shape")
        scalars, replay = tape_recorder(function)

        def counted() -> None:
            assert len(shapes) == 1, "replayed after the refusal"
            replay()

        return scalars, counted

    recorded.replays = Replays(record)
    one, other = states(trainer("difficulty_net"), recorded)
    assert same(one, other)
    assert len(shapes) == 2
    assert (recorded.replays.told, recorded.replays.replays) == ("no second shape", {})


@pytest.mark.parametrize(
    ("version", "old"),
    [("2.13.1+cu126", True), ("2.9.0", True), ("2.14.0", False), ("2.14.1+cu130", False), ("3.0", False)],
)
def test_older_versions_of_torch_do_not_record(version: str, old: bool) -> None:
    recorded = trainer("cross_entropy")
    recorded.replays = Replays(tape_recorder, version)
    recorded.run()
    assert (recorded.replays.refusal is not None) is old
    assert bool(recorded.replays.replays) is not old
    if old:
        assert recorded.replays.told == f"recording needs torch 2.14 or newer, this is {version}"


def test_the_methods_that_are_not_replayable_are_known() -> None:
    assert set(METHODS) - set(REPLAYABLE) == OTHERS


def test_a_careful_training_is_never_replayed() -> None:
    careful = trainer("cross_entropy", recorded=True)
    careful.careful = True
    careful.run()
    assert careful.replays is not None
    assert not careful.replays.plain


@pytest.mark.parametrize("name", ["cross_entropy", "difficulty_net", "crt"])
def test_a_recorded_trainer_is_freed_with_its_last_name(name: str) -> None:
    """Not by a garbage collection: on a GPU its weights, images and graphs would wait for one."""
    gc.collect()
    gc.disable()
    try:
        recorded = trainer(name, recorded=True)
        recorded.run()
        assert recorded.replays is not None
        assert recorded.replays.replays
        seen = [weakref.ref(recorded), weakref.ref(recorded.model), weakref.ref(recorded.replays)]
        del recorded
        assert [reference() for reference in seen] == [None] * 3
    finally:
        gc.enable()


@pytest.mark.parametrize("fails", [False, True])
def test_no_garbage_is_collected_during_a_recording(fails: bool) -> None:
    class Cycle:
        def __init__(self) -> None:
            self.own = self

    seen = []

    def record(function: Any) -> Any:
        seen.append((gc.isenabled(), garbage()))
        if fails:
            raise RuntimeError("no")
        return tape_recorder(function)

    recorded = trainer("cross_entropy")
    recorded.replays = Replays(record)
    garbage = weakref.ref(Cycle())
    recorded.run()
    assert set(seen) == {(False, None)}
    assert gc.isenabled()


def test_memory_of_earlier_cells_is_released_on_a_gpu_only(monkeypatch: pytest.MonkeyPatch) -> None:
    class Cycle:
        def __init__(self) -> None:
            self.own = self

    emptied: list[int] = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: emptied.append(1))
    gc.collect()
    garbage = weakref.ref(Cycle())
    release_memory(torch.device("cpu"))
    assert (garbage() is not None, emptied) == (True, [])
    release_memory(torch.device("cuda"))
    assert (garbage(), emptied) == (None, [1])


def test_the_cpu_is_never_more_than_a_few_iterations_ahead() -> None:
    made = trainer("cross_entropy")
    queued, ahead = deque[object](), []

    class Mark:
        def record(self) -> None:
            queued.append(self)
            ahead.append(len(queued))

        def synchronize(self) -> None:
            while queued.popleft() is not self:  # a device works in order
                pass

    made.throttle = Throttle(Mark)
    made.run()
    assert ahead == [min(place, LEAD + 1) for place in range(1, 19)]


def test_on_a_cpu_nothing_is_recorded() -> None:
    assert trainer("cross_entropy").replays is None
    assert trainer("cross_entropy").throttle is None
    with own_stream(torch.device("cpu")):
        pass


def test_the_tape_notices_a_read_and_leaves_everything_as_it_was() -> None:
    value = torch.ones(3)

    def reads() -> dict[str, Tensor]:
        value.add_(1)
        return {"sum": torch.tensor(value.sum().item())}

    with pytest.raises(RuntimeError, match="_local_scalar_dense waits for the device"):
        tape_recorder(reads)
    assert value.tolist() == [1, 1, 1]
    with Tape() as tape:
        doubled = value * 2
        value.mul_(3)
    tape.undo()
    assert value.tolist() == [1, 1, 1]
    value.fill_(5)
    tape.replay()
    assert (doubled.tolist(), value.tolist()) == ([10] * 3, [15] * 3)


@pytest.fixture
def deterministic(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")  # put back after the test
    before = torch.backends.cudnn.benchmark
    use_deterministic()
    yield
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.benchmark = before


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.usefixtures("deterministic")
@pytest.mark.parametrize("name", REPLAYABLE)
def test_a_cuda_graph_gives_what_the_plain_path_gives_bit_by_bit(name: str) -> None:
    device = torch.device("cuda")
    with own_stream(device):
        plain, recorded = (make_trainer(name, schedule=SCHEDULE, iterations=18, device=device) for _ in "12")
        plain.replays = None
        one, other = states(plain, recorded)
    assert recorded.replays is not None
    assert recorded.replays.refusal is None
    assert recorded.replays.replays
    assert same(one, other)
