"""Mistakes in a loop of one's own: one sentence before the first step, for every method."""

import copy
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from longtail import METHODS, Batch, Method, StepInfo, make_method
from longtail.networks import build_network
from longtail.networks.heads import WithHead
from longtail.own_checks import HOOKS
from longtail.training.optimisers import SGD
from tests.support.small_training import CLASSES, COUNTS, META_COUNTS, make_images

TRAIN = make_images(COUNTS, 2, torch.float32, noise=1.0)
META = make_images(META_COUNTS, 3, torch.float32, noise=1.0)
SETTINGS: dict[str, dict[str, Any]] = {
    "focal": {"form": "sigmoid"},
    "class_balanced": {"loss": "sigmoid"},
    "difficulty_net": {"first_accuracies": "measured"},
}
"""Settings with which these methods need a hook."""
NEEDED = {
    "adapt": ["class_balanced", "focal", "ldam", "paco"],
    "head": [name for name, preset in METHODS.items() if preset.stage == "retrain"],
    "parameters": ["dro_lt", "paco"],
    "start_epoch": [
        "difficulty_net",
        "dro_lt",
        "tau_norm",
        "logit_adjustment",
        "tau_norm_adjustment",
        "difficulty_adjustment",
    ],
    "sampler": ["balms", "resampling", "sample_difficulty_net"],
}


@dataclass
class Loop:
    """Everything before the first step of a loop that does as it should, but for `without`."""

    name: str
    without: str = ""

    def __post_init__(self) -> None:
        self.method = make_method(self.name, COUNTS, **SETTINGS.get(self.name, {}))
        network = build_network("digits_resnet", CLASSES, 1)
        head = copy.deepcopy(network.classifier)
        if METHODS[self.name].stage == "retrain":
            head = head if self.without == "head" else self.method.head(network.classifier)  # type: ignore
            self.model: nn.Module = WithHead(network, head)  # type: ignore[arg-type]
        else:
            self.model = network if self.without == "adapt" else self.method.adapt(network)
        unmade = self.without in ("adapt", "head") and self.name in NEEDED[self.without]
        further = [] if unmade or self.without == "parameters" else self.method.parameters()
        trained = [one for one in self.model.parameters() if one.requires_grad]
        self.info = StepInfo(0, 10, 0.1, SGD([*trained, *further], 0.9, 5e-4))
        rows = torch.arange(16)
        if self.without != "sampler":
            rows = self.method.sampler("shuffled", TRAIN.labels, 16).batch(0)
        self.model.train()
        if self.without != "start_epoch" and not unmade:
            self.method.start_epoch(self.model, TRAIN, META)
        images, labels = TRAIN.pixels[rows], TRAIN.labels[rows]
        self.batch = Batch(images, labels, images.flip(3) if self.method.uses_second_view else None)
        self.meta = Batch(META.pixels, META.labels) if self.method.uses_meta_batch else None

    def step(self, **changed: Tensor) -> dict[str, Tensor]:
        return self.method.backward(self.model, replace(self.batch, **changed), self.meta, self.info)

    def refused(self, expected: str, **changed: Tensor) -> None:
        """The step is refused in one sentence, and has done nothing."""
        before = copy.deepcopy(self.model.state_dict())
        with pytest.raises(ValueError, match=f"^{self.name}: ") as refused:
            self.step(**changed)
        assert expected in str(refused.value)
        assert "\n" not in str(refused.value)
        assert all(torch.equal(value, before[key]) for key, value in self.model.state_dict().items())
        assert all(one.grad is None for one in self.model.parameters())


@pytest.fixture(params=METHODS)
def loop(request: pytest.FixtureRequest) -> Loop:
    return Loop(request.param)


def test_a_loop_that_does_as_it_should_steps(loop: Loop) -> None:
    assert isinstance(loop.method, Method)
    assert torch.isfinite(loop.step()["train_loss"])


def test_the_check_of_the_outputs_changes_no_step(loop: Loop) -> None:
    other = Loop(loop.name)
    other.method._fitting = other.model  # type: ignore[attr-defined]
    torch.manual_seed(0)
    found = loop.step()
    torch.manual_seed(0)
    assert torch.equal(found["train_loss"], other.step()["train_loss"])
    for one, its in zip(loop.model.parameters(), other.model.parameters(), strict=True):
        assert (one.grad is None) == (its.grad is None)
        assert one.grad is None or torch.equal(one.grad, its.grad)  # type: ignore[arg-type]
    for key, value in loop.model.state_dict().items():
        assert torch.equal(value, other.model.state_dict()[key]), key
    assert [m.training for m in loop.model.modules()] == [m.training for m in other.model.modules()]


def test_labels_of_another_type_are_refused(loop: Loop) -> None:
    labels = loop.batch.labels
    loop.refused("labels are uint8, not int64: labels.long()", labels=labels.to(torch.uint8))
    loop.refused("labels are int32, not int64", labels=labels.int())
    loop.refused("labels have the shape [16, 1]; expected one for each of 16 images", labels=labels[:, None])
    loop.refused("labels go from 1 to 5, but counts has 4 classes", labels=torch.arange(16) % 5 + 1)


def test_a_model_in_float64_is_refused(loop: Loop) -> None:
    loop.model.double()
    loop.refused("the model is in float64; methods compute in float32: model.float()")


def test_images_that_are_no_inputs_are_refused(loop: Loop) -> None:
    for kind in (torch.uint8, torch.float64):
        name = str(kind).removeprefix("torch.")
        loop.refused(f"images are {name}, not float32", images=loop.batch.images.to(kind))


def test_counts_that_do_not_fit_the_outputs_are_refused(loop: Loop) -> None:
    outer = loop.model

    class Wider(type(outer)):  # type: ignore[misc]
        def forward(self, images: Tensor) -> Tensor:
            return nn.functional.pad(super().forward(images), (0, 3))

    outer.__class__ = Wider
    loop.refused("the model has 7 outputs, but counts has 4 classes")


def test_a_missing_meta_batch_or_second_view_is_said(loop: Loop) -> None:
    if loop.method.uses_meta_batch:
        loop.meta = None
        loop.refused("no meta batch; give ")
    if loop.method.uses_second_view:
        loop.batch = replace(loop.batch, second_view=None)
        loop.refused("no second view; give ")


@pytest.mark.parametrize(("hook", "name"), [(hook, name) for hook, names in NEEDED.items() for name in names])
def test_a_hook_that_was_not_called_is_named(hook: str, name: str) -> None:
    Loop(name, without=hook).refused(f"method.{hook} was not called; {HOOKS[hook]}")


@pytest.mark.parametrize("name", METHODS)
def test_no_other_hook_is_asked_for(name: str) -> None:
    for hook in HOOKS:
        if name not in NEEDED[hook]:
            Loop(name, without=hook).step()


def test_a_loss_by_itself_is_checked_too() -> None:
    method, info = make_method("focal", COUNTS), StepInfo(0, 10, 0.1)
    logits, labels = torch.zeros(2, 4), torch.tensor([0, 3])
    assert method.batch_loss(logits, labels, info).ndim == 0
    for wrong, its, expected in (
        (logits.double(), labels, "the logits are float64"),
        (logits[:, :3], labels, "the model has 3 outputs, but counts has 4 classes"),
        (logits, labels.to(torch.uint8), "labels are uint8, not int64"),
        (logits, labels[:1], "expected one for each of 2 images"),
    ):
        with pytest.raises(ValueError, match=f"^focal: {expected}" if "one" not in expected else expected):
            method.batch_loss(wrong, its, info)


def test_parts_that_a_method_needs_are_named() -> None:
    plain = nn.Sequential(nn.Flatten(), nn.Linear(64, CLASSES))
    for name, expected in (
        ("dro_lt", "the model has no `features`"),
        ("tau_norm", "the model is a Sequential; train `WithHead("),
        ("balms", "the model is a Sequential; train `WithHead("),
    ):
        loop = Loop(name)
        loop.model = plain
        loop.refused(expected)
    loop = Loop("balms")
    loop.info = StepInfo(0, 10, 0.1)
    loop.refused("no optimiser; give ")


def test_a_resumed_epoch_needs_no_second_start() -> None:
    first, resumed = Loop("dro_lt"), Loop("dro_lt", without="start_epoch")
    resumed.method.load_state(first.method.state())
    assert torch.equal(resumed.step()["train_loss"], first.step()["train_loss"])
