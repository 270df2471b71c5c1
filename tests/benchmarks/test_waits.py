"""The comparison of two revisions' results, and the table of their waits."""

from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from benchmarks.waits import COMMANDS, Wait, results_digest, table


def results(folder: Path, weight: float = 1.0, fingerprint: str = "a", accuracy: str = "72.1") -> str:
    place = folder / "models" / "digits-lt" / "imb50" / "focal" / "seed1"
    place.mkdir(parents=True)
    weights = {"classifier.bias": np.full(10, weight, np.float32)}
    save_file(weights, place / "weights.safetensors", {"fingerprint": fingerprint})
    (folder / "reports" / "digits-lt").mkdir(parents=True)
    (folder / "reports" / "digits-lt" / "table1.csv").write_text(accuracy)
    return results_digest(folder)


def test_results_are_equal_whatever_the_fingerprints_and_differ_by_one_bit(tmp_path: Path) -> None:
    first = results(tmp_path / "first")
    assert results(tmp_path / "other code", fingerprint="another") == first
    nearest = float(np.nextafter(np.float32(1), np.float32(2)))
    assert results(tmp_path / "other weight", weight=nearest) != first
    assert results(tmp_path / "other table", accuracy="72.2") != first


def test_the_table_has_medians_and_says_where_results_differ() -> None:
    def rounds(scale: float) -> list[list[Wait]]:
        return [[Wait(scale * n, 2 * scale * n, 90) for _ in COMMANDS] for n in (1, 2, 9)]

    taken = {"abc": rounds(100.0), "def": rounds(50.0)}
    text = table(taken, equal=False)
    assert "| first `dvc repro` | 200.0 (400 s, 90 stages) | 100.0 (200 s, 90 stages) |" in text
    assert "DIFFER" in text
    assert "DIFFER" not in table(taken, equal=True)
