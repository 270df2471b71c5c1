"""Samplers: what a pass holds, and that a batch depends on (seed, iteration) alone."""

import random
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from longtail.training.samplers import (
    ClassAwareSampler,
    DrawnSampler,
    ShortClassAwareSampler,
    ShuffledSampler,
    build_sampler,
)

count_lists = st.lists(st.integers(1, 12), min_size=1, max_size=5)


def labels_of(counts: list[int]) -> Tensor:
    """Labels in no particular order."""
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    return labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(9))]


def one_pass(sampler: ShuffledSampler | ClassAwareSampler, epoch: int) -> list[int]:
    first = epoch * sampler.batches_per_epoch
    batches = [sampler.batch(first + i) for i in range(sampler.batches_per_epoch)]
    assert all(len(batch) == sampler.batch_size for batch in batches[:-1])
    assert 1 <= len(batches[-1]) <= sampler.batch_size
    return torch.cat(batches).tolist()


@settings(deadline=None, max_examples=40)
@given(
    images=st.integers(1, 50), batch_size=st.integers(1, 60), seed=st.integers(0, 9), epoch=st.integers(0, 3)
)
def test_shuffled_gives_every_image_once_an_epoch(
    images: int, batch_size: int, seed: int, epoch: int
) -> None:
    assert sorted(one_pass(ShuffledSampler(images, batch_size, seed), epoch)) == list(range(images))


def test_shuffled_orders_differ_by_epoch_seed_and_stream() -> None:
    orders = [
        one_pass(ShuffledSampler(60, 16, seed, stream), epoch)
        for seed in (1, 2)
        for stream in ("order", "meta_order")
        for epoch in (0, 1)
    ]
    assert len({tuple(order) for order in orders}) == 8


@settings(deadline=None, max_examples=40)
@given(counts=count_lists, batch_size=st.integers(1, 20), seed=st.integers(0, 9), epoch=st.integers(0, 3))
def test_class_aware_gives_four_of_a_class_in_a_row_and_balanced_rounds(
    counts: list[int], batch_size: int, seed: int, epoch: int
) -> None:
    labels = labels_of(counts)
    order = one_pass(ClassAwareSampler(labels, batch_size, seed), epoch)
    assert len(order) == len(counts) * max(counts)
    drawn = labels[order].tolist()
    runs = [drawn[i : i + 4] for i in range(0, len(drawn), 4)]
    assert all(len(set(run)) == 1 for run in runs)
    classes = len(counts)
    rounds = [[run[0] for run in runs[i : i + classes]] for i in range(0, len(runs), classes)]
    assert all(len(set(turn)) == len(turn) for turn in rounds)  # every class once a round
    shown = Counter(drawn)
    assert max(shown.values()) - min(shown[c] for c in range(classes)) <= 4


@settings(deadline=None, max_examples=40)
@given(counts=count_lists, seed=st.integers(0, 9))
def test_class_aware_shows_all_images_of_a_class_before_any_again(counts: list[int], seed: int) -> None:
    labels = labels_of(counts)
    order = one_pass(ClassAwareSampler(labels, 8, seed), 0)
    for c, count in enumerate(counts):
        own = [image for image in order if labels[image] == c]
        for start in range(0, len(own), count):
            part = own[start : start + count]
            assert len(set(part)) == len(part)


def test_class_aware_repeats_a_small_class_even_within_its_four() -> None:
    labels = labels_of([12, 1])
    order = one_pass(ClassAwareSampler(labels, 8, seed=1), 0)
    single = int(torch.nonzero(labels == 1))
    assert len(order) == 24
    assert order.count(single) == 12


def test_class_aware_rounds_and_images_are_shuffled_anew_each_epoch() -> None:
    labels = labels_of([8, 8, 8, 8, 8])
    sampler = ClassAwareSampler(labels, 16, seed=1)
    passes = [one_pass(sampler, epoch) for epoch in (0, 1)]
    turns = [labels[order].tolist() for order in passes]
    assert turns[0] != turns[1]
    for c in range(5):
        own = [[image for image in order if labels[image] == c] for order in passes]
        assert own[0] != own[1]
        assert sorted(own[0]) == sorted(own[1])
    assert one_pass(sampler, 0) != one_pass(ClassAwareSampler(labels_of([8] * 5), 16, seed=2), 0)


@pytest.mark.parametrize("name", ["shuffled", "class_aware", "class_aware_short"])
@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**40), asked=st.lists(st.integers(0, 60), min_size=1, max_size=8))
def test_a_batch_depends_on_seed_and_iteration_alone(name: str, seed: int, asked: list[int]) -> None:
    labels = labels_of([9, 4, 1])
    walked = build_sampler(name, labels, 4, seed)
    for iteration in asked:  # in any order, on one object
        fresh = build_sampler(name, labels, 4, seed).batch(iteration)
        assert torch.equal(walked.batch(iteration), fresh)


@pytest.mark.parametrize("name", ["shuffled", "class_aware", "class_aware_short"])
def test_global_randomness_neither_matters_nor_changes(name: str) -> None:
    labels = labels_of([9, 4, 1])
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = build_sampler(name, labels, 4, 3).batch(2)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    random.seed(2)
    assert torch.equal(build_sampler(name, labels, 4, 3).batch(2), first)


def test_an_unknown_sampler_is_refused() -> None:
    with pytest.raises(ValueError, match="sampler 'odd'"):
        build_sampler("odd", labels_of([2, 2]), 4, 1)


def test_drawn_batches_are_each_a_draw_of_its_own_from_all_images() -> None:
    sampler = DrawnSampler(20, 8, seed=1, stream="meta_order")
    batches = [sampler.batch(iteration).tolist() for iteration in range(300)]
    assert all(len(set(batch)) == 8 for batch in batches)
    # passes would show every image once in two and a half batches
    assert any(set(batches[i]) & set(batches[i + 1]) for i in range(0, 10, 2))
    shown = Counter(image for batch in batches for image in batch)
    assert sorted(shown) == list(range(20))
    assert max(shown.values()) < 1.4 * min(shown.values())
    assert DrawnSampler(20, 8, seed=1, stream="meta_order").batch(7).tolist() == batches[7]
    assert sorted(DrawnSampler(5, 8, seed=1, stream="meta_order").batch(3).tolist()) == list(range(5))


def test_short_passes_go_on_in_the_lists_of_the_classes() -> None:
    labels = torch.tensor([0] * 40 + [1] * 4)
    sampler = build_sampler("class_aware_short", labels, 8, seed=1)
    drawn = torch.cat([sampler.batch(iteration) for iteration in range(2 * sampler.batches_per_epoch)])
    assert sampler.batches_per_epoch == 7
    of_class_0 = drawn[labels[drawn] == 0]
    assert len(of_class_0) == 2 * 28
    # with lists that begin again each epoch, only chance would show the last twelve
    assert sorted(of_class_0[:40].tolist()) == list(range(40))


@given(
    counts=st.lists(st.integers(1, 30), min_size=1, max_size=6),
    batch_size=st.integers(1, 40),
    seed=st.integers(0, 50),
)
@settings(deadline=None, max_examples=60)
def test_short_passes_are_balanced_rounds_of_endless_lists(
    counts: list[int], batch_size: int, seed: int
) -> None:
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    sampler = build_sampler("class_aware_short", labels, batch_size, seed)
    assert isinstance(sampler, ShortClassAwareSampler)
    epochs = 5
    for epoch in range(epochs):
        batches = [
            sampler.batch(epoch * sampler.batches_per_epoch + i) for i in range(sampler.batches_per_epoch)
        ]
        assert {len(batch) for batch in batches} == {batch_size}
    turns = -(-sampler.length // 4)
    # one turn after the other: every class shows all its images before any again, over epochs
    drawn = torch.cat([sampler._make_order(epoch) for epoch in range(epochs)])
    if sampler.length % 4 == 0:
        seen: dict[int, list[int]] = {c: [] for c in range(len(counts))}
        for turn in range(epochs * turns):
            four = drawn[turn * 4 : turn * 4 + 4]
            (c,) = set(labels[four].tolist())
            seen[c] += four.tolist()
        for c, members in enumerate(sampler.members):
            whole = len(seen[c]) // len(members) * len(members)
            for start in range(0, whole, len(members)):
                assert sorted(seen[c][start : start + len(members)]) == members.tolist()
        lengths = [len(images) for images in seen.values()]
        assert max(lengths) - min(lengths) <= 4
