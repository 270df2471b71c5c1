"""Batches of images in memory: made one by one or many at once, and never by asking the device."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from longtail.config.presets import VARIANTS
from longtail.training.augment.batch import AUGMENTS
from longtail.training.batches import Images, TrainingData
from longtail.training.image_sets import View
from longtail.training.samplers import DrawnSampler, ShuffledSampler
from tests.support.small_training import COUNTS, META_COUNTS, TRAINING, labels_of, make_trainer

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)


class Expecting(Images):
    """Told of views ahead of time, as on a GPU."""

    @property
    def ahead(self) -> int:
        return 5


def pictures(counts: tuple[int, ...], kind: type[Images] = Images) -> Images:
    labels = labels_of(counts)
    draws = torch.Generator().manual_seed(len(labels))
    raw = torch.randint(0, 256, (len(labels), 3, 32, 32), generator=draws, dtype=torch.uint8)
    return kind(raw, labels, MEAN, STD)


def data(kind: type[Images], method: str) -> TrainingData[Images]:
    changes = {"augment": "cifar", "second_augment": "cifar_view", "iterations": 30}
    training = TRAINING.model_copy(update=changes)
    chosen = make_trainer(method).method
    return TrainingData(pictures(COUNTS, kind), pictures(META_COUNTS, kind), training, chosen, seed=3)


@pytest.mark.parametrize("method", ["difficulty_net", "paco", "balms"])
def test_batches_made_ahead_are_the_same(method: str) -> None:
    plain, ahead = data(Images, method), data(Expecting, method)
    for iteration in [*range(9), *range(20, 30)]:  # the gap is of a training that was begun elsewhere
        one, other = plain.train_batch(iteration), ahead.train_batch(iteration)
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.labels, other.labels)
        assert (one.second_view is None) == (other.second_view is None)
        if one.second_view is not None and other.second_view is not None:
            assert torch.equal(one.second_view, other.second_view)
        one, other = plain.meta_batch(iteration), ahead.meta_batch(iteration)
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.labels, other.labels)


def test_most_batches_are_made_together(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def counted(self: Images, views: list[View]) -> None:
        made.append(len(views))
        Images._make(self, views)

    monkeypatch.setattr(Expecting, "_make", counted)
    source = data(Expecting, "cross_entropy")
    for iteration in range(30):
        source.train_batch(iteration)
    assert made == [1, 5, 5, 5, 5, 5, 4]
    assert not source.train._made
    assert not source.train._expected


@pytest.mark.parametrize("augment", [None, *AUGMENTS])
def test_nothing_is_read_back_from_the_device(augment: str | None) -> None:
    """Tensors on the device `meta` have no values: whoever asks for one gets an error."""
    images = pictures(COUNTS)
    nowhere = replace(images, raw=images.raw.to("meta"), labels=images.labels.to("meta"))
    view = View(torch.arange(10), augment, 1, "augment", 7)
    made, labels = nowhere.view(view)
    expected, _ = images.view(view)
    assert (made.shape, made.dtype, made.device.type) == (expected.shape, expected.dtype, "meta")
    assert labels.shape == (10,)
    with pytest.raises((RuntimeError, NotImplementedError)):
        made.sum().item()


@pytest.mark.parametrize(("method", "settings"), [("meta_weight_net", {}), ("cb_da", {})])
def test_meta_batches_of_these_methods_are_augmented_and_drawn_again(
    method: str, settings: dict[str, Any]
) -> None:
    data = make_trainer(method, settings).data
    plain = {image.numpy().tobytes() for image in data.meta.pixels}
    found = [data.meta_batch(iteration) for iteration in range(12)]
    moved = sum(image.numpy().tobytes() not in plain for batch in found for image in batch.images)
    assert moved > 30  # of 72; a shift by (0, 0) is one in nine
    assert isinstance(data.meta_sampler, DrawnSampler)
    as_passes = make_trainer(method, {**settings, "meta_batches": "passes"}).data
    assert all(image.numpy().tobytes() in plain for image in as_passes.meta_batch(0).images)
    assert isinstance(as_passes.meta_sampler, ShuffledSampler)


@pytest.mark.parametrize("variant", ["difficulty_net", "cdb_ce_mwn"])
def test_meta_batches_of_difficulty_net_are_plain_passes(variant: str) -> None:
    preset = VARIANTS[variant]
    settings = preset.resolve(variant, "cifar100-lt", 100, {}, 0.3)
    data = make_trainer(preset.name, settings).data
    assert isinstance(data.meta_sampler, ShuffledSampler)
    assert data.meta_augment is None
