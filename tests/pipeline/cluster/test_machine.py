"""The workers of a machine."""

import subprocess
import sys
from pathlib import Path

import pytest

from longtail.pipeline.cluster import machine
from tests.support import clusters
from tests.support.stage_runs import run_stage


@pytest.mark.parametrize(
    ("named", "expected"),
    [(None, ["0", "1", "2"]), ("4,GPU-ab,7", ["4", "GPU-ab", "7"]), ("", ["0", "1", "2"])],
)
def test_each_gpu_has_a_name_of_its_own(
    named: str | None, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setattr(machine, "has_nvidia_device", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if named is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert machine.gpus() == expected
    monkeypatch.setattr(machine, "has_nvidia_device", lambda: False)
    assert machine.gpus() == []


def test_workers_of_strangers_are_refused_at_once(tmp_path: Path) -> None:
    done = run_stage(tmp_path, "workers", "tcp://10.0.0.5:8786")
    assert done.code == 2
    assert done.stderr.startswith("error: tcp://10.0.0.5:8786: not encrypted")


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_sigterm_ends_workers_that_wait_for_a_scheduler(tmp_path: Path) -> None:
    log = tmp_path / "workers.log"
    words = ("-m", "longtail", "workers", "tcp://127.0.0.1:1", "--count", "1")
    with clusters.group(words, log) as process:
        while not log.read_text() or not clusters.worker_processes(process):
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.05)
        below = clusters.worker_processes(process)
        process.terminate()
        assert process.wait(60) == 0
        assert "done: all have left; unfinished trainings are saved" in log.read_text()
        assert not any(Path(f"/proc/{worker}").exists() for worker in below)
