"""What an iteration costs by its method, and the time that is left."""

import ast
import inspect
from types import SimpleNamespace
from typing import Any

import pytest
from torch.utils.flop_counter import FlopCounterMode

from longtail.config.presets import METHODS
from longtail.methods import find_method
from longtail.planning.plans import PlannedTraining
from longtail.running import pace as pace_module
from longtail.running.pace import SEEN, Pace, image_passes
from longtail.training.post_hoc import PostHocHead
from tests.support.small_training import TRAINING, make_trainer

POST_HOC = [name for name in METHODS if issubclass(find_method(name), PostHocHead)]
BATCHES: dict[str, Any] = {"batch_size": 16, "meta_batch_size": 12}
PLAIN = 3 * BATCHES["batch_size"]


def work(
    name: str, method: str = "cross_entropy", network: str = "resnet32", **settings: Any
) -> PlannedTraining:
    """A training of 100 iterations."""
    preset = METHODS[method]
    chosen = preset.settings.model_validate(settings).model_dump(by_alias=True)
    training = TRAINING.model_copy(update={"iterations": 100, **BATCHES})
    head = method if preset.stage == "retrain" else None
    plan, cell = SimpleNamespace(network=network), SimpleNamespace(head=head)
    return SimpleNamespace(  # type: ignore[return-value]
        plan=plan, cell=cell, fingerprint=name, method=method, settings=chosen, training=training
    )


def operations(method: str, settings: dict[str, Any]) -> int:
    """Multiplications and additions of one iteration, as torch counts them."""
    trainer = make_trainer(method, settings, **BATCHES)
    next(trainer.iterations())
    with FlopCounterMode(display=False) as counter:
        next(trainer.iterations())
    return counter.get_total_flops()


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        *[(name, {}) for name in METHODS if name != "cb_da" and name not in POST_HOC],  # those train nothing
        ("cb_da", {"start": 0.0}),
        ("cb_da", {"start": 1.0}),
        ("difficulty_net", {"meta_gradient": "detached"}),
        ("balms", {"meta_sampler": False}),
    ],
)
def test_the_cost_of_each_method_is_what_torch_counts(method: str, settings: dict[str, Any]) -> None:
    counted = operations(method, settings) / operations("cross_entropy", {})
    assert counted == pytest.approx(image_passes(work("a", method, **settings)) / PLAIN, rel=0.1)


def test_every_preset_says_its_cost_and_the_pace_names_no_method() -> None:
    for preset in METHODS.values():
        settings = preset.settings().model_dump(by_alias=True)
        assert preset.image_passes(settings, 16, 12) >= 16
    tree = ast.parse(inspect.getsource(pace_module))
    names = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    assert not names & set(METHODS)


def test_what_was_measured_holds_for_its_network_method_and_way_of_computing() -> None:
    pace, exact = Pace(), work("a", "difficulty_net")
    assert pace.expected(exact) is None
    pace.measure(exact, 400.0, beside=20.0)
    assert pace.expected(work("b", "difficulty_net", driver_loss=False)) == 420
    assert pace.expected(exact, done=50) == 220
    detached = work("c", "difficulty_net", meta_gradient="detached")
    assert pace.expected(detached) == pytest.approx(20 + 400 * PLAIN / image_passes(exact))
    pace.measure(detached, 100.0)
    assert (pace.each(exact), pace.each(detached)) == (4, 1)


def test_a_method_that_was_not_measured_yet_costs_by_its_passes() -> None:
    pace, plain, exact = Pace(), work("a"), work("b", "difficulty_net")
    pace.measure(plain, 100.0)
    assert pace.each(exact) == pytest.approx(image_passes(exact) / PLAIN)
    assert pace.each(work("c", "crt")) == pytest.approx(1 / 3)
    pace.measure(work("d", network="resnet152"), 5000.0)
    assert pace.each(work("e", "focal")) == pytest.approx(1)  # the other network says nothing of this one
    assert pace.each(work("f", "focal", network="resnet152")) == pytest.approx(50)
    assert pace.each(work("g", "focal", network="resnet10")) == pytest.approx(51 / 2)


def test_while_the_slow_method_is_still_to_come_the_time_left_counts_it_as_slow() -> None:
    plain, slow = work("a"), work("b", "difficulty_net")
    pace = Pace()
    pace.measure(work("c"), 100.0)
    whole = image_passes(slow) / PLAIN * 100
    assert pace.left([plain, slow], {"a": 60}, workers=1) == pytest.approx(40 + whole)
    assert whole > 300  # by the mean iteration so far it would be 100


def test_the_time_left_is_that_of_the_last_worker() -> None:
    pace = Pace()
    pace.measure(work("x"), 100.0)
    three = [work(name) for name in "abc"]
    assert pace.left(three, {}, workers=1) == pytest.approx(300)
    assert pace.left(three, {}, workers=2) == pytest.approx(200)
    assert pace.left(three, {"c": 100}, workers=2) == pytest.approx(100)
    assert pace.left(three, {"c": 50}, workers=2) == pytest.approx(150)  # c goes on beside a, then b
    assert pace.left([], {}, workers=2) == 0


def test_a_running_training_is_measured_once_enough_of_it_was_seen() -> None:
    pace, one = Pace(), work("a")
    pace.watch([one], {"a": 0}, now=0.0)
    pace.watch([one], {"a": 40}, now=50.0)  # taken up at a checkpoint
    pace.watch([one], {"a": 40 + round(100 * SEEN) - 1}, now=56.0)
    assert pace.left([one], {"a": 43}, workers=1) is None
    pace.watch([one], {"a": 50}, now=70.0)
    assert pace.left([one], {"a": 50}, workers=1) == pytest.approx(50 * 20 / 10)
    pace.watch([one], {"a": 100}, now=1000.0)  # when it ended is not known
    assert pace.each(one) == 2
