"""CDB-CE: difficulties, powers and weights against NumPy, the loss with the weights in force."""

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import ValidationError

from longtail.config.presets import METHODS
from longtail.config.presets.cdb_ce import Settings
from longtail.config.training import Steps
from longtail.errors import InputError
from longtail.methods.cdb_ce import CDBCE
from tests.support.losses import CASES, CLASSES, COUNTS, MOMENT, check_gradient, found_losses, log_softmax
from tests.support.small_training import make_trainer

FUNCTIONS = {
    "linear": lambda a: 1 - a,
    "concave": lambda a: 1 - a * a,
    "convex": lambda a: 1 - 2 * a + a * a,
    "exponential": lambda a: math.e**-a,
    "relative": lambda a: 1 - a / a.sum(),
}
TAUS = [0.5, 1.0, 1.5, 2.0, 5.0, "dynamic", "dynamic_released"]

ACCURACIES = {
    "falling": np.array([0.95, 0.8, 0.6, 0.5, 0.2, 0.1]),
    "none and all": np.array([1.0, 0.9, 0.5, 0.4, 0.0, 0.0]),
    "one class only": np.array([1.0, 0.0, 0.0, 0.0, 0.0, 0.0]),
}


def tau_of(tau: float | str, a: NDArray[np.float64]) -> float:
    """`tau`; 2 / (1 + e^{-b}) with b = max a / (min a + 0.01) - 1; or without the 2 and the -1."""
    if isinstance(tau, float):
        return tau
    if tau == "dynamic_released":
        return 1 / (1 + math.exp(-max(a) / (min(a) + 0.01)))
    b = max(a) / (min(a) + 0.01) - 1
    return 2 / (1 + math.exp(-b))


def weights_formula(difficulty: str, tau: float | str, a: NDArray[np.float64]) -> NDArray[np.float64]:
    """d^tau C / sum d^tau."""
    powers = FUNCTIONS[difficulty](a) ** tau_of(tau, a)
    return powers * len(a) / powers.sum()


def method_of(accuracy: NDArray[np.float64] | None = None, **settings: Any) -> CDBCE:
    method = CDBCE(settings, COUNTS)
    if accuracy is not None:
        method.refresh(torch.from_numpy(accuracy))
    return method


def cross_entropy(name: str) -> NDArray[np.float64]:
    logits, labels = CASES[name]
    return -log_softmax(logits)[np.arange(len(labels)), labels]


@pytest.mark.parametrize("accuracy", ACCURACIES)
@pytest.mark.parametrize("tau", TAUS)
@pytest.mark.parametrize("difficulty", FUNCTIONS)
def test_after_a_refresh_difficulties_and_weights_are_those_of_the_formula(
    difficulty: str, tau: float | str, accuracy: str
) -> None:
    a = ACCURACIES[accuracy]
    method = method_of(a, difficulty=difficulty, tau=tau)
    np.testing.assert_allclose(method.difficulty(), FUNCTIONS[difficulty](a), rtol=1e-10, atol=1e-12)
    found = method.weights()
    np.testing.assert_allclose(found, weights_formula(difficulty, tau, a), rtol=1e-10, atol=1e-10)
    assert float(found.mean()) == pytest.approx(1, rel=1e-12)
    assert found.dtype == torch.float64


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("difficulty", FUNCTIONS)
def test_the_loss_is_cross_entropy_times_the_weight_in_force(difficulty: str, name: str) -> None:
    for a in ACCURACIES.values():
        for tau in (2.0, "dynamic"):
            expected = weights_formula(difficulty, tau, a)[CASES[name][1]] * cross_entropy(name)
            found = found_losses(method_of(a, difficulty=difficulty, tau=tau), name)
            np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10)


def test_the_variants_are_the_four_functions_of_figure_1_the_dynamic_tau_and_the_relative_difficulty() -> (
    None
):
    preset = METHODS["cdb_ce"]
    found = {name: preset.resolve(name, "digits-lt", 50, {}, 0.3) for name in preset.variants}
    assert found == {
        "cdb_ce": {"tau": 1.0, "difficulty": "linear"},
        "cdb_ce_dynamic": {"tau": "dynamic", "difficulty": "linear"},
        "cdb_ce_concave": {"tau": 1.0, "difficulty": "concave"},
        "cdb_ce_convex": {"tau": 1.0, "difficulty": "convex"},
        "cdb_ce_exponential": {"tau": 1.0, "difficulty": "exponential"},
        "cdb_ce_relative": {"tau": 1.0, "difficulty": "relative"},
    }


@pytest.mark.parametrize("tau", ["fast", -0.5, math.nan, math.inf, True, None])
def test_a_tau_that_is_neither_a_number_nor_dynamic_is_one_clear_complaint(tau: object) -> None:
    with pytest.raises(
        InputError,
        match=r"^here\.tau: found .*; tau is a number of at least 0, dynamic, or dynamic_released$",
    ):
        METHODS["cdb_ce"].check({"tau": tau}, "here")
    with pytest.raises(ValidationError):
        Settings.model_validate({"tau": tau})


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("tau", [1.0, "dynamic"])
@pytest.mark.parametrize("difficulty", FUNCTIONS)
def test_before_the_first_refresh_all_difficulties_are_1_and_it_is_cross_entropy(
    difficulty: str, tau: float | str, name: str
) -> None:
    method = method_of(difficulty=difficulty, tau=tau)
    assert method.difficulty().tolist() == [1.0] * CLASSES
    assert method.weights().tolist() == [1.0] * CLASSES
    np.testing.assert_allclose(found_losses(method, name), cross_entropy(name), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("difficulty", FUNCTIONS)
def test_with_tau_0_or_equal_accuracies_it_is_cross_entropy(difficulty: str, name: str) -> None:
    methods = [method_of(a, difficulty=difficulty, tau=0.0) for a in ACCURACIES.values()]
    methods += [
        method_of(np.full(CLASSES, value), difficulty=difficulty, tau=tau)
        for value in (0.0, 0.3, 1.0)
        for tau in (1.0, "dynamic")
    ]
    for method in methods:
        np.testing.assert_allclose(found_losses(method, name), cross_entropy(name), rtol=1e-10, atol=1e-10)


def test_a_class_without_errors_counts_nothing_unless_its_difficulty_stays_above_0() -> None:
    a = ACCURACIES["none and all"]
    zero = {name: float(method_of(a, difficulty=name).weights()[0]) == 0 for name in FUNCTIONS}
    assert zero == {"linear": True, "concave": True, "convex": True, "exponential": False, "relative": False}


@pytest.mark.parametrize("difficulty", FUNCTIONS)
def test_classes_recognised_worse_never_weigh_less(difficulty: str) -> None:
    weights = method_of(ACCURACIES["falling"], difficulty=difficulty).weights()
    assert (weights.diff() > 0).all()


def test_the_dynamic_tau_is_near_1_for_equal_accuracies_and_nears_2_as_they_fall_apart() -> None:
    spreads = [np.linspace(0.8 - spread, 0.8, CLASSES) for spread in (0.0, 0.3, 0.6, 0.8)]
    taus = []
    for a in spreads[1:]:
        found, d = np.asarray(method_of(a, tau="dynamic").weights()), 1 - a
        taus.append(math.log(found[0] / found[-1]) / math.log(d[0] / d[-1]))
    np.testing.assert_allclose(taus, [tau_of("dynamic", a) for a in spreads[1:]], rtol=1e-9)
    assert 0.99 < tau_of("dynamic", spreads[0]) < 1 < taus[0] < taus[1] < 1.99
    assert taus[2] == pytest.approx(2, rel=1e-9)


def test_huge_powers_neither_vanish_nor_overflow() -> None:
    weights = method_of(np.array([0.99, 0.95, 0.9, 0.9, 0.9, 0.9]), tau=1e4).weights()
    np.testing.assert_allclose(weights, [0, 0, 1.5, 1.5, 1.5, 1.5], atol=1e-12)


@pytest.mark.parametrize("difficulty", FUNCTIONS)
def test_its_gradient_is_that_of_its_values(difficulty: str) -> None:
    check_gradient(method_of(ACCURACIES["falling"], difficulty=difficulty, tau=2.0))


def test_logits_of_single_precision_give_losses_of_single_precision() -> None:
    logits, labels = CASES["random logits"]
    method = method_of(ACCURACIES["falling"])
    losses = method.sample_losses(torch.from_numpy(logits).float(), torch.from_numpy(labels), MOMENT)
    assert losses.dtype == torch.float32
    np.testing.assert_allclose(losses, found_losses(method, "random logits"), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("variant", METHODS["cdb_ce"].variants)
def test_a_training_weights_each_epoch_by_the_accuracies_before_it(variant: str) -> None:
    settings = METHODS["cdb_ce"].resolve(variant, "digits-lt", 50, {}, 0.3)
    trainer = make_trainer("cdb_ce", settings, noise=0.5, iterations=7)
    trainer.run()
    rows = trainer.history.rows
    assert rows[0]["weight"] == [1.0] * 4
    for row in rows[1:]:
        a = np.array(row["accuracy"])
        expected = weights_formula(settings["difficulty"], settings["tau"], a)
        np.testing.assert_allclose(row["weight"], expected, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(row["difficulty"], FUNCTIONS[settings["difficulty"]](a), atol=1e-12)
    assert max(rows[-1]["weight"]) > 1.05

    trainer.model.train()
    batch = trainer.data.train_batch(7)
    logits = copy.deepcopy(trainer.model)(batch.images).detach().double().numpy()
    losses = -log_softmax(logits)[np.arange(len(batch.labels)), batch.labels]
    found = trainer.method.backward(trainer.model, batch, None, MOMENT)["train_loss"]
    expected = (np.array(rows[-1]["weight"])[batch.labels] * losses).mean()
    assert float(found) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("tau", [1.5, "dynamic"])
def test_state_and_load_state_continue_to_the_same_bits(tau: float | str) -> None:
    def fresh() -> Any:
        return make_trainer("cdb_ce", {"tau": tau}, noise=0.5, iterations=9)

    states: list[dict[str, Any]] = []
    whole = fresh()
    whole.run(after_epoch=lambda now: states.append(copy.deepcopy(now.state())))
    resumed, forgetful = fresh(), fresh()
    resumed.load_state(copy.deepcopy(states[1]))
    forgetful.load_state(copy.deepcopy(states[1]) | {"method": fresh().state()["method"]})
    for trainer in (resumed, forgetful):
        trainer.run()
    assert repr(resumed.history.rows) == repr(whole.history.rows)
    for name, value in whole.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], value)
    assert repr(forgetful.history.rows) != repr(whole.history.rows)


def test_what_it_is_told_later_does_not_change_a_state_taken_earlier() -> None:
    method = method_of(ACCURACIES["falling"])
    state, weights = method.state(), method.weights().tolist()
    method.refresh(torch.from_numpy(ACCURACIES["one class only"]))
    assert method.weights().tolist() != weights
    method.load_state(state)
    assert method.weights().tolist() == weights


@pytest.mark.parametrize("settings", [{}, {"tau": "dynamic"}, {"difficulty": "relative"}], ids=str)
def test_a_training_lowers_the_loss_and_beats_chance_on_the_smallest_classes(
    settings: dict[str, Any],
) -> None:
    schedule = Steps(start=0.1, peak=0.1, warmup=0, milestones=(26,))
    rows = []
    for seed in (1, 2, 3):
        trainer = make_trainer("cdb_ce", settings, seed=seed, noise=0.5, iterations=40, schedule=schedule)
        trainer.run()
        rows.append((trainer.history.rows[1], trainer.history.rows[-1]))
    losses = np.array([[row["train_loss"] for row in pair] for pair in rows]).mean(0)
    assert losses[1] < losses[0] / 2
    few = np.mean([last["accuracy"][2:] for _, last in rows])
    assert few > 0.4  # chance: 0.25
