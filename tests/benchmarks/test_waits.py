"""The comparison of two revisions' results, and the table of their waits."""

from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from benchmarks.waits import COMMANDS, Wait, table, tables_digest, weights_digest


def results(
    folder: Path, weight: float = 1.0, fingerprint: str = "a", accuracy: str = "72.1", bundle: str = "focal"
) -> tuple[str, str]:
    place = folder / "models" / "digits-lt" / "imb50" / bundle / "seed1"
    place.mkdir(parents=True)
    weights = {"classifier.bias": np.full(10, weight, np.float32)}
    save_file(weights, place / "weights.safetensors", {"fingerprint": fingerprint})
    (folder / "reports" / "digits-lt").mkdir(parents=True)
    (folder / "reports" / "digits-lt" / "table1.csv").write_text(accuracy)
    return weights_digest(folder), tables_digest(folder)


def test_results_are_equal_whatever_the_fingerprints_and_differ_by_one_bit(tmp_path: Path) -> None:
    first = results(tmp_path / "first")
    assert results(tmp_path / "other code", fingerprint="another") == first
    nearest = float(np.nextafter(np.float32(1), np.float32(2)))
    assert results(tmp_path / "other place", bundle="elsewhere") == first
    weights, tables = results(tmp_path / "other weight", weight=nearest)
    assert (weights != first[0], tables) == (True, first[1])
    weights, tables = results(tmp_path / "other table", accuracy="72.2")
    assert (weights, tables != first[1]) == (first[0], True)


def test_the_table_has_medians_and_says_where_results_differ() -> None:
    def rounds(scale: float) -> list[list[Wait]]:
        return [[Wait(scale * n, 2 * scale * n, 90) for _ in COMMANDS] for n in (1, 2, 9)]

    taken = {"abc": rounds(100.0), "def": rounds(50.0)}
    text = table(taken, (True, False), [1, 2])
    assert "| first `dvc repro` | 200.0 (400 s, 90 stages) | 100.0 (200 s, 90 stages) |" in text
    assert "Weights are equal, byte by byte; tables, claims and curves DIFFER." in text
    assert "abc def --rounds 3 --seeds 1 2`" in text
    assert "Digits-LT, seeds 1, 2." in text
    assert "--seeds" not in table(taken, (True, True), [])
