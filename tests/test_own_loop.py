"""The library in somebody's own training loop: the example, methods by name, DataLoader, shot groups."""

import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import longtail
from longtail import (
    METHODS,
    ClassAwareSampler,
    EpochBatches,
    InputError,
    ShuffledSampler,
    StepInfo,
    make_method,
    shot_group_accuracy,
)
from tests.support.small_training import make_images
from tests.support.stage_runs import ROOT

COUNTS = [60, 25, 10, 4]
PAGE = (ROOT / "docs" / "own_loop.md").read_text(encoding="utf-8")


def example() -> str:
    found = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    assert len(found) == 1
    return found[0]


def data(counts: list[int], seed: int) -> TensorDataset:
    images = make_images(tuple(counts), seed, torch.float32, noise=1.5)
    return TensorDataset(images.pixels, images.labels)


def test_the_example_of_the_page_trains_an_ordinary_module() -> None:
    code = example()
    assert len([line for line in code.splitlines() if line.strip()]) <= 40
    names: dict = {}
    exec(code, names)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 4))
    names["train"](model, data(COUNTS, 2), COUNTS, data([10] * 4, 3), epochs=24)
    images, labels = data([25] * 4, 4).tensors
    model.eval()
    with torch.no_grad():
        found = shot_group_accuracy(model(images), labels, COUNTS, many_above=40, few_below=20)
    few, everything = found["few"], found["all"]
    assert few is not None
    assert everything is not None
    assert few > 2 * 25  # chance is 25 %
    assert everything > 2 * 25


@pytest.mark.parametrize("name", [name for name, preset in METHODS.items() if preset.stage == "represent"])
def test_every_method_can_be_made_by_name_for_any_number_of_classes(name: str) -> None:
    method = make_method(name, [50, 7, 1], seed=3)
    assert method.task.classes == 3
    if type(method).backward is longtail.Method.backward:  # only a loss
        loss = method.batch_loss(torch.zeros(5, 3), torch.tensor([0, 0, 1, 2, 2]), StepInfo(0, 10, 0.1))
        assert loss.shape == ()
        assert torch.isfinite(loss)


@pytest.mark.parametrize(
    ("name", "counts", "settings", "expected"),
    [
        ("focul", [3, 2], {}, "did you mean 'focal'?"),
        ("focal", [3, 2], {"gama": 2.0}, "unknown key 'gama'; did you mean 'gamma'?"),
        ("focal", [3, 2], {"gamma": -1.0}, "focal.gamma: found -1"),
        ("focal", [3, 2], {"lambda_": 0.3}, "no driver loss"),
        ("difficulty_net", [3, 2], {"lambda": 0.3}, "lambda"),
        ("cross_entropy", [3, 0], {}, "each 1 or more"),
        ("cross_entropy", [], {}, "each 1 or more"),
    ],
)
def test_mistakes_are_named(name: str, counts: list[int], settings: dict, expected: str) -> None:
    with pytest.raises(InputError, match=re.escape(expected)):
        make_method(name, counts, **settings)


def test_lambda_and_settings_arrive() -> None:
    method = make_method("difficulty_net", [9, 3], lambda_=0.75, hidden=7)
    assert (method.settings.lambda_, method.settings.hidden) == (0.75, 7)  # type: ignore[attr-defined]


def test_samplers_feed_a_data_loader_epoch_after_epoch() -> None:
    dataset = data([8, 3], 1)
    labels = dataset.tensors[1]
    loader = DataLoader(dataset, batch_sampler=EpochBatches(ShuffledSampler(11, 4, seed=5)))
    first, second = ([batch[1] for batch in loader] for _ in range(2))
    assert [len(batch) for batch in first] == [4, 4, 3]
    assert torch.equal(torch.cat(first).sort().values, labels)
    assert not torch.equal(torch.cat(first), torch.cat(second))
    balanced = EpochBatches(ClassAwareSampler(labels, 8, seed=5, per_class=1))
    for indices in balanced:
        chosen = labels[indices]
        assert abs(int((chosen == 0).sum()) - int((chosen == 1).sum())) <= 2


def test_shot_groups_are_counted_by_their_training_images() -> None:
    logits = np.eye(4)[[0, 1, 2, 3, 0, 0, 2, 2]]
    found = shot_group_accuracy(torch.from_numpy(logits), np.arange(8) % 4, [500, 100, 20, 19])
    assert found == {"all": 75.0, "many": 100.0, "medium": 75.0, "few": 50.0}
    assert shot_group_accuracy(logits, np.arange(8) % 4, [5] * 4)["many"] is None


def test_every_public_name_is_there_and_the_library_imports_without_torch() -> None:
    for name in longtail.__all__:
        assert getattr(longtail, name) is not None
        assert name in PAGE or name in {"InputError", "Method", "call_without_trace"}, name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        longtail.nothing  # noqa: B018  # type: ignore[attr-defined]
    program = "import sys, longtail; assert 'torch' not in sys.modules; from longtail import make_method"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False, capture_output=True)
    assert done.returncode == 0, done.stderr


WITHOUT_THE_PIPELINE = """
import importlib.abc, sys

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("dvc", "mlflow", "typer"):
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)

sys.meta_path.insert(0, Absent())
"""


def test_the_library_needs_neither_dvc_nor_mlflow_nor_typer() -> None:
    step = """
import torch, longtail
for name in longtail.__all__:
    getattr(longtail, name)
model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.Linear(8, 3))
draws = [longtail.Batch(torch.randn(6, 4), torch.arange(6) % 3) for _ in range(2)]
method = longtail.make_method("difficulty_net", [9, 4, 2])
print(sorted(method.backward(model, *draws, longtail.StepInfo(0, 10, 0.1))))
"""
    run = [sys.executable, "-c"]
    done = subprocess.run(
        [*run, WITHOUT_THE_PIPELINE + step], cwd=ROOT, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "meta_loss" in done.stdout
    control = subprocess.run(
        [*run, WITHOUT_THE_PIPELINE + "import mlflow"], cwd=ROOT, check=False, capture_output=True, text=True
    )
    assert "No module named 'mlflow'" in control.stderr
