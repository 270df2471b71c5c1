"""Checkpoints: whole or not at all, and never another cell's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from longtail.checkpoints import load_checkpoint, save_checkpoint

CPU = torch.device("cpu")
STATE = {
    "iteration": 3,
    "weights": {"a": torch.arange(4.0)},
    "history": [{"loss": 0.5, "weight": [1.0, 1.0]}],
}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "work" / "checkpoint.pt"
    save_checkpoint(path, STATE, "mine")
    return path


def test_what_was_saved_comes_back(saved: Path) -> None:
    found = load_checkpoint(saved, "mine", CPU)
    assert found is not None
    assert torch.equal(found["weights"]["a"], STATE["weights"]["a"])
    assert {**found, "weights": 0} == {**STATE, "weights": 0}


def test_none_where_there_is_no_file_or_another_cells(saved: Path) -> None:
    assert load_checkpoint(saved.with_name("other.pt"), "mine", CPU) is None
    assert load_checkpoint(saved, "another", CPU) is None
    assert load_checkpoint(saved, "", CPU) is None


@pytest.mark.parametrize("part", [0.0, 0.01, 0.5, 0.9, 0.999])
def test_none_for_a_truncated_file(saved: Path, part: float) -> None:
    content = saved.read_bytes()
    saved.write_bytes(content[: int(len(content) * part)])
    assert load_checkpoint(saved, "mine", CPU) is None


@pytest.mark.parametrize(
    "content", [b"garbage", b"\x80\x04N.", bytes(range(256)) * 16, b"PK\x03\x04" + bytes(100)]
)
def test_none_for_garbage(saved: Path, content: bytes) -> None:
    saved.write_bytes(content)
    assert load_checkpoint(saved, "mine", CPU) is None


class Sneaky:
    """Runs code when unpickled."""

    def __reduce__(self):
        return (Path.touch, (Path(os.environ["SNEAKY"]),))


def test_no_code_in_a_checkpoint_is_ever_run(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = saved.with_name("ran")
    monkeypatch.setenv("SNEAKY", str(mark))
    torch.save({"fingerprint": "mine", "state": Sneaky()}, saved)
    assert load_checkpoint(saved, "mine", CPU) is None
    assert not mark.exists()


@pytest.mark.parametrize("value", [[1, 2], {"fingerprint": "mine"}, {"state": STATE}, "mine"])
def test_none_for_a_file_of_another_form(saved: Path, value: object) -> None:
    torch.save(value, saved)
    assert load_checkpoint(saved, "mine", CPU) is None


def test_a_save_that_fails_leaves_the_last_checkpoint_and_nothing_else(saved: Path) -> None:
    before = saved.read_bytes()
    with pytest.raises(Exception, match=r"pickle|Pickl|local"):
        save_checkpoint(saved, {"bad": lambda: None}, "mine")
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]
