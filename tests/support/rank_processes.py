"""Processes that make up the ranks of one training, over gloo."""

import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed

from longtail.training.ranks import Ranks


def in_ranks(size: int, function: Callable[..., Any], folder: Path, *arguments: Any) -> list[Any]:
    """What `function(ranks, *arguments)` returns in each of `size` processes; `folder` is empty."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([function.__module__, __name__])  # torch is imported once for all
    processes = [
        context.Process(target=_run, args=(Ranks(rank, size), function, folder, arguments))
        for rank in range(size)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * size
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(size)]


def _run(ranks: Ranks, function: Callable[..., Any], folder: Path, arguments: Any) -> None:
    torch.set_num_threads(1)
    place = (folder / "meeting").as_uri()
    torch.distributed.init_process_group("gloo", init_method=place, rank=ranks.rank, world_size=ranks.size)
    torch.save(function(ranks, *arguments), folder / f"{ranks.rank}.pt")
    torch.distributed.destroy_process_group()
