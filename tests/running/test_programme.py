"""The order of a programme, and what a budget allows of it."""

import pytest

from longtail.config.benchmarks import CIFAR100_LT, DIGITS_LT
from longtail.config.params import Params
from longtail.errors import InputError
from longtail.planning.planner import plan_bundles
from longtail.planning.plans import BundlePlan
from longtail.running.pace import Pace
from longtail.running.programme import Budget, Step, choose, programme, select_cells, slice_of

IMBALANCES = [200, 100, 50, 20, 10]


def plans(imbalances: list[float] | None = None, seeds: list[int] | None = None) -> list[BundlePlan]:
    wanted = imbalances or IMBALANCES
    chosen = {"lambda": 0.3, "imbalances": {"cifar100-lt": wanted}, "seeds": seeds or [1, 2]}
    return plan_bundles(CIFAR100_LT, Params.model_validate(chosen))


def steps(*rows: str, imbalances: tuple[float, ...] = (), seeds: tuple[int, ...] = ()) -> list[Step]:
    found = plans()
    return programme(found, select_cells(found, rows, imbalances, seeds), {})


@pytest.fixture(scope="module")
def names() -> list[str]:
    return [step.name for step in steps()]


def test_the_paper_s_own_rows_come_first(names: list[str]) -> None:
    first = ["cross_entropy", "focal", "balanced_softmax", "difficulty_net", "difficulty_net_detached"]
    first += ["difficulty_net_balanced_softmax"]
    heads = [f"{features}-{head}" for features in first[:4:3] for head in ("crt", "lws", "las")]
    for start, imbalance in ((0, 100), (12, 10)):
        assert names[start : start + 12] == [f"imb{imbalance}-{row}-seed1" for row in first + heads]


def test_then_the_sweep_the_other_methods_the_other_imbalances_the_other_seeds(names: list[str]) -> None:
    sweep = [f"imb{r}-difficulty_net_lambda_{v}-seed1" for r in (100, 10) for v in ("0", "0.6", "0.9", "1")]
    assert names[24:32] == sweep  # 0.3 is the training of difficulty_net
    imbalances = [name.partition("-")[0] for name in names if name.endswith("-seed1")]
    others = imbalances[32:]
    assert others == sorted(others, key=["imb100", "imb10", "imb200", "imb50", "imb20"].index)
    assert {"imb100-cdb_ce-seed1", "imb100-cross_entropy-balms-seed1"} <= set(names[32:60])
    seeds = [name[-1] for name in names]
    assert seeds == sorted(seeds)
    half = len(names) // 2
    assert [name[:-1] for name in names[:half]] == [name[:-1] for name in names[half:]]


def test_every_planned_cell_is_in_the_programme_and_equal_settings_are_one_training() -> None:
    found = [cell.name for step in steps() for _, cell in step.cells]
    assert sorted(found) == sorted(cell.name for plan in plans() for cell in plan.cells())
    same = next(step for step in steps() if step.name == "imb100-difficulty_net-seed1")
    assert [cell.variant for _, cell in same.cells] == ["difficulty_net", "difficulty_net_lambda_0.3"]


def test_a_head_comes_after_its_features() -> None:
    seen = set()
    for step in steps():
        assert step.features is None or step.features in seen
        seen.add(step.fingerprint)


def test_a_head_brings_the_features_that_it_stands_on() -> None:
    found = [step.name for step in steps("difficulty_net-crt", "focal", imbalances=(50,), seeds=(2,))]
    assert found == ["imb50-focal-seed2", "imb50-difficulty_net-seed2", "imb50-difficulty_net-crt-seed2"]


def test_without_the_paper_s_imbalances_the_largest_is_first() -> None:
    found = plan_bundles(
        DIGITS_LT, Params.model_validate({"lambda": 0.3, "imbalances": {"digits-lt": [20, 50]}, "seeds": [4]})
    )
    order = [step.name.partition("-")[0] for step in programme(found, select_cells(found, (), (), ()), {})]
    assert order == sorted(order, reverse=True)


@pytest.mark.parametrize(
    ("wanted", "complaint"),
    [
        ((["crossentropy"], [], []), "--only crossentropy: not planned; did you mean 'cross_entropy'?"),
        (([], [7], []), "--imbalance 7: not planned"),
        (([], [], [3]), "--seed 3: not planned"),
    ],
)
def test_what_is_not_planned_is_refused(
    wanted: tuple[list[str], list[float], list[int]], complaint: str
) -> None:
    with pytest.raises(InputError, match=complaint.replace("?", r"\?")):
        select_cells(plans(), *wanted)


def pick(waiting: list[Step], pace: Pace, left: float, **more: object) -> str | None:
    chosen = {"finished": set(), "begun": set(), **more}
    found = choose(waiting, pace=pace, left=left, **chosen)  # type: ignore[arg-type]
    return found.name if found else None


def test_the_budget_counts_down() -> None:
    now = 100.0
    budget = Budget(2, clock=lambda: now)
    assert budget.left == 120
    now = 160.0
    assert (budget.left, str(budget)) == (60, "1.0 min left")
    now = 300.0
    assert (budget.left, str(budget)) == (-80, "0.0 min left")
    assert str(Budget(None)) == "no limit"


def test_nothing_is_started_that_would_not_end_in_time() -> None:
    ce, dn = steps("cross_entropy", "difficulty_net", imbalances=(100,), seeds=(1,))
    pace = Pace()
    pace.measure(ce, 100.0)
    assert pick([dn], pace, left=300) is None  # not known yet: more than three times a plain training
    assert pick([dn], pace, left=320) == dn.name
    pace.measure(dn, 300.0)
    assert pick([dn], pace, left=299) is None
    assert pick([dn], pace, left=300) == dn.name
    assert pick([dn, ce], pace, left=299) == ce.name  # the time is still good for another
    pace.measure(dn, 300.0, beside=20.0)
    assert pick([dn], pace, left=319) is None


def test_what_was_begun_goes_on_whatever_it_takes() -> None:
    (ce,) = steps("cross_entropy", imbalances=(100,), seeds=(1,))
    pace = Pace()
    pace.measure(ce, 100.0)
    assert pick([ce], pace, left=1, begun={ce.fingerprint}) == ce.name
    assert pick([ce], pace, left=0, begun={ce.fingerprint}) is None


def test_before_anything_is_measured_one_is_started_as_long_as_there_is_time() -> None:
    (ce,) = steps("cross_entropy", imbalances=(100,), seeds=(1,))
    assert pick([ce], Pace(), left=1) == ce.name
    assert pick([ce], Pace(), left=0) is None


def test_a_head_waits_for_its_features() -> None:
    features, head = steps("cross_entropy-crt", imbalances=(100,), seeds=(1,))
    assert pick([head], Pace(), left=1e9) is None
    assert pick([head], Pace(), left=1e9, finished={features.fingerprint}) == head.name


def test_slices_share_no_training_have_all_together_and_keep_heads_with_their_features() -> None:
    whole = steps()
    slices = [slice_of(whole, number, 16) for number in range(1, 17)]
    together = [step.fingerprint for part in slices for step in part]
    assert sorted(together) == sorted(step.fingerprint for step in whole)
    for part in slices:
        own = {step.fingerprint for step in part}
        assert all(step.features in own for step in part if step.features)
    networks = [step.name for step in whole if step.features is None]
    third = [step.name for step in slices[2] if step.features is None]
    assert third == networks[2::16]
    assert any(step.features for step in slices[0])
