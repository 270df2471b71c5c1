"""A CUDA graph's stand-in on the CPU: operations and the places of their results, taken down once."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

READS = ("_local_scalar_dense", "nonzero", "masked_select", "_unique2", "bincount", "equal", "is_nonzero")
"""Operations for which a GPU must be waited for, or whose results have no fixed size."""


class Tape(TorchDispatchMode):
    """Takes down all operations of a block; what the block wrote into older tensors is then undone.

    So after the block nothing has happened, as after the recording of a CUDA graph. `replay` runs the
    operations again on the same tensors, with the same numbers of Python, and puts the results where they
    were.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, tuple[Any, ...], dict[str, Any], list[Tensor]]] = []
        self.before: dict[int, tuple[Tensor, Tensor]] = {}
        self.born: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        if name in READS:
            raise RuntimeError(f"{name} waits for the device")
        for value in written(func, args):
            place = value.untyped_storage().data_ptr()
            if place not in self.born and place not in self.before:
                self.before[place] = (value.detach(), value.detach().clone())
        # aliases, as an operation may change the shape of a tensor in place
        taken = tree_map_only(Tensor, torch.detach, (args, kwargs))
        result = func(*args, **kwargs)
        known = {value.untyped_storage().data_ptr() for value in tensors(taken)}
        self.born |= {value.untyped_storage().data_ptr() for value in tensors(result)} - known
        self.calls.append((func, *taken, [value.detach() for value in tensors(result)]))
        return result

    @torch.no_grad()
    def undo(self) -> None:
        """Put back what the block wrote into tensors that were there before it."""
        for value, content in self.before.values():
            value.copy_(content)

    @torch.no_grad()
    def replay(self) -> None:
        """Do it all again."""
        for func, args, kwargs, places in self.calls:
            for place, value in zip(places, tensors(func(*args, **kwargs)), strict=True):
                if place.data_ptr() != value.data_ptr():
                    place.copy_(value)


def written(func: Any, args: tuple[Any, ...]) -> list[Tensor]:
    """The tensors among `args` that an operation writes into."""
    arguments = zip(func._schema.arguments, args, strict=False)
    marked = [given for argument, given in arguments if argument.alias_info and argument.alias_info.is_write]
    # the schema of this one does not say so of its running statistics
    return tensors(marked) + (
        tensors(args[3:5]) if func.overloadpacket.__name__ == "native_batch_norm" else []
    )


def tensors(value: Any) -> list[Tensor]:
    """All tensors within nested tuples, lists and dicts."""
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]


def tape_recorder(function: Callable[[], dict[str, Tensor]]) -> tuple[dict[str, Tensor], Callable[[], None]]:
    """A `Record` of `longtail.training.graphs` that works on the CPU."""
    tape = Tape()
    try:
        with tape:
            results = function()
    finally:
        tape.undo()
    return results, tape.replay
