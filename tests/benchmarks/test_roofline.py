"""The benchmark's count of work: operations of products, bytes that operations read and write."""

import torch

from benchmarks.roofline import Rates, Work, table


def test_products_are_counted_and_every_tensor_that_moves() -> None:
    one, two = torch.ones(10, 20), torch.ones(20, 5)
    assert Work.counted(lambda: one @ two) == Work(2 * 10 * 20 * 5, 4 * (200 + 100 + 50))
    assert Work.counted(lambda: one.add_(1)) == Work(0, 4 * (200 + 200))
    assert Work.counted(lambda: one.T.reshape(-1)[None]) == Work(0, 4 * (200 + 200))  # reshape copies


def test_views_move_nothing() -> None:
    one = torch.ones(10, 20)
    assert Work.counted(lambda: one.T[3:].unsqueeze(0)) == Work(0, 0)


def test_the_backward_pass_counts_too() -> None:
    one, two = torch.ones(10, 20, requires_grad=True), torch.ones(20, 5, requires_grad=True)
    assert Work.counted(lambda: (one @ two).sum().backward()).operations == 3 * 2 * 10 * 20 * 5


def test_the_slower_of_arithmetic_and_traffic_is_what_can_be_reached() -> None:
    lines = table({"a step": Work(4e9, 6e9)}, {"a step": 8.0}, Rates(1e9, 3e9))
    assert lines[-1] == "| a step | 4.0 | 4000.0 | 6.00 | 2000.0 | 50% |"
