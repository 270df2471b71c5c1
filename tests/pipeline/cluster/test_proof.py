"""A worker trains only for a client with which it has everything in common."""

from typing import Any

import pytest

from longtail.pipeline.cluster.proof import difference, facts

OWN: dict[str, Any] = {**facts(), "probe": "x", "pool": "p", "place": "work/.probe-1@a"}
WORKER: dict[str, Any] = {**OWN, "gpus": 0, "device": "cpu"}


def test_the_code_of_every_training_is_compared() -> None:
    named = {"methods/focal.py", "networks/residual.py", "training/trainer.py", "running/cells.py"}
    assert named <= OWN["code"].keys()


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (
            {"versions": {**OWN["versions"], "torch": "2.0"}},
            f"torch 2.0 there, {OWN['versions']['torch']} here",
        ),
        ({"code": {**OWN["code"], "methods/focal.py": "0"}}, "longtail/methods/focal.py differs"),
        (
            {"code": {**OWN["code"], "methods/focal.py": "0", "methods/new.py": "1"}},
            "longtail/methods/focal.py differs and 1 more files differ",
        ),
        ({"probe": None}, "it does not read work/.probe-1@a; mount the repository's folder at the same path"),
        ({"pool": "other"}, "its data/ has another pool of images"),
        ({"deterministic": True}, "LONGTAIL_DETERMINISTIC=1 is set on one side only"),
        ({"gpus": 2, "device": "cuda"}, "it sees 2 GPUs"),
    ],
)
def test_a_difference_is_named_in_one_line(change: dict[str, Any], line: str) -> None:
    assert difference({**WORKER, **change}, OWN, "auto") == line


def test_equal_workers_are_accepted_unless_another_device_was_asked_for() -> None:
    assert difference(WORKER, OWN, "auto") is None
    assert difference(WORKER, OWN, "cpu") is None
    assert difference(WORKER, OWN, "cuda") == "it trains on cpu, and --device cuda was asked for"
