"""Every method on the real digits-LT, with its own preset: it learns, small classes too."""

import copy
import math
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from longtail.config.benchmarks import DIGITS_LT
from longtail.config.presets import VARIANTS
from longtail.data.manifests import draw_meta, draw_train
from longtail.data.pools import draw_pool
from longtail.data.profiles import exponential_profile
from longtail.data.sources import SOURCES
from longtail.methods import build_method
from longtail.networks import build_network
from longtail.networks.heads import WithHead
from longtail.own_loop import shot_group_accuracy
from longtail.training.batches import Images, TrainingData
from longtail.training.method import Task
from longtail.training.trainer import Trainer, predict

IMBALANCE = 10
CHANCE = 10.0
"""Percent: one of ten classes."""
ONE_EACH = list({preset.name: variant for variant, preset in reversed(VARIANTS.items())}.values())[::-1]
"""The first variant of each method."""


@cache
def images() -> tuple[Images, Images, Images]:
    """Training, meta and test images."""
    source = SOURCES["digits"].read(None, Path(), lambda done: None)
    pool = draw_pool(source, benchmark="digits-lt", data_seed=0, test_per_class=DIGITS_LT.test_per_class)
    meta_per_class = DIGITS_LT.meta_per_class
    sizes = np.bincount(pool.label[pool.rows("source")])
    counts = exponential_profile(int(sizes.min()) - meta_per_class, IMBALANCE, 10)
    train = draw_train(pool, IMBALANCE, counts, meta_per_class)
    meta = draw_meta(pool, IMBALANCE, meta_per_class)
    test = pool.rows("test")

    def of(labels: np.ndarray, rows: np.ndarray) -> Images:
        return Images.of(source.images[rows], labels, DIGITS_LT.mean, DIGITS_LT.std, torch.device("cpu"))

    return (of(train.label, train.image), of(meta.label, meta.image), of(pool.label[test], pool.image[test]))


@cache
def features() -> nn.Module:
    """A network trained with cross-entropy; not to be changed."""
    trainer = make_trainer("cross_entropy")
    trainer.run()
    return trainer.model


def make_trainer(variant: str) -> Trainer:
    """The variant as the pipeline would train it with seed 1."""
    preset = VARIANTS[variant]
    training = DIGITS_LT.represent if preset.stage == "represent" else DIGITS_LT.retrain
    training = training.model_copy(update=preset.training)
    train, meta, _ = images()
    task = Task(torch.bincount(train.labels), seed=1, imbalance=IMBALANCE)
    method = build_method(preset.name, preset.resolve(variant, "digits-lt", 50, {}, 0.3), task)
    if preset.stage == "represent":
        network = method.adapt(build_network(DIGITS_LT.networks[0], task.classes, seed=1))
    else:
        below = copy.deepcopy(features())
        network = WithHead(below, method.head(below.classifier))  # type: ignore[arg-type]
    data = TrainingData(train, meta, training, method, seed=1)
    return Trainer(network, method, data, training, task.classes)


@pytest.mark.parametrize("variant", ONE_EACH)
def test_the_loss_falls_and_small_classes_are_recognised(variant: str) -> None:
    trainer = make_trainer(variant)
    trainer.run()
    losses = [row["train_loss"] for row in trainer.history.rows if not math.isnan(row["train_loss"])]
    if trainer.training.iterations > 1:  # tau-norm trains nothing
        assert losses[-1] < losses[0]
    train, _, test = images()
    counts = torch.bincount(train.labels)
    logits = predict(trainer.model, test.pixels)
    few = shot_group_accuracy(logits, test.labels, counts, many_above=60, few_below=20)["few"]
    assert few is not None
    assert few > 2 * CHANCE


def test_the_largest_class_has_what_the_smallest_has_left() -> None:
    source = SOURCES["digits"].read(None, Path(), lambda done: None)
    assert DIGITS_LT.n_max is not None
    assert DIGITS_LT.test_per_class is not None
    images_of_it = DIGITS_LT.test_per_class + DIGITS_LT.meta_per_class + DIGITS_LT.n_max
    assert np.bincount(source.label).min() == images_of_it
