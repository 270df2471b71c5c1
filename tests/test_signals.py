"""SIGTERM and Ctrl-C: saved, left, no orphans, and the same command goes on to the same bytes."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.stage_runs import DATA, environment, stages

PARAMS = "lambda: 0.3\nimbalances: {digits-lt: [50]}\nseeds: [1, 2]\nschedule: {fraction: 1.0}\n"
METHOD = "meta_weight_net"
"""A slow one: seconds lie between its cells' first checkpoint and their end."""
REPRESENT = ("stages.represent", "50", METHOD, "--device", "cpu")
MODELS = Path("models/digits-lt/imb50") / METHOD

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")


def stage(folder: Path, *words: str, threads: int = 1) -> subprocess.CompletedProcess[str]:
    command, around = [sys.executable, "-m", *words], environment() | {"OMP_NUM_THREADS": str(threads)}
    return subprocess.run(command, cwd=folder, env=around, capture_output=True, text=True, check=False)


def weights(folder: Path) -> dict[str, bytes]:
    files = ("weights.safetensors", "selected.safetensors", "history.parquet", "predictions.parquet")
    return {
        f"{seed}/{name}": (folder / MODELS / seed / name).read_bytes()
        for seed in ("seed1", "seed2")
        for name in (*files, "cell.json")
    }


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which all is ready for training."""
    folder = tmp_path_factory.mktemp("signals")
    (folder / "params.yaml").write_text(PARAMS)
    done = stages(folder, *DATA)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def undisturbed(planned: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training that nobody disturbed, with other threads around it and one worker."""
    folder = tmp_path_factory.mktemp("undisturbed") / "whole"
    shutil.copytree(planned, folder)
    done = stage(folder, *REPRESENT, "--jobs", "1", threads=2)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def expected(undisturbed: Path) -> dict[str, bytes]:
    """Its result."""
    return weights(undisturbed)


def family(process: int) -> list[int]:
    """A process and all below it."""
    found = [process]
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if parent == process:
            found += family(int(path.parent.name))
    return found


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def gone(processes: list[int]) -> bool:
    deadline = time.monotonic() + 10
    while any(map(alive, processes)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not any(map(alive, processes))


def begun(folder: Path) -> subprocess.Popen[str]:
    """A training in a process group of its own, once both cells have a first checkpoint."""
    command = [sys.executable, "-m", *REPRESENT]
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while len(list(folder.glob("work/*/checkpoint.pt"))) < 2 and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return process


def to_the_stage(process: subprocess.Popen[str], number: int) -> None:
    process.send_signal(number)


def to_all(process: subprocess.Popen[str], number: int) -> None:
    os.killpg(process.pid, number)


@pytest.mark.parametrize(
    ("number", "code", "send"),
    [
        (signal.SIGTERM, 143, to_the_stage),
        (signal.SIGINT, 130, to_all),  # as a terminal does
    ],
)
def test_a_signal_saves_leaves_and_says_how_to_go_on(
    number: int,
    code: int,
    send: Callable[[subprocess.Popen[str], int], None],
    planned: Path,
    expected: dict[str, bytes],
    tmp_path: Path,
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(planned, folder)
    process = begun(folder)
    everyone = family(process.pid)
    assert len(everyone) == 3, "the stage and two workers"
    send(process, number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == code
    assert gone(everyone)
    assert "Traceback" not in out + err
    said = rf"stopped: by {signal.Signals(number).name} at iteration (\d+) of 300, 2 cells; the same command "
    found = re.match(said, err)
    assert found is not None, err
    assert err.count("\n") == 1
    assert not (folder / "models").exists()
    assert len(list(folder.glob("work/*/checkpoint.pt"))) == 2

    import torch

    from longtail.checkpoints import read_checkpoint

    paths = folder.glob("work/*/checkpoint.pt")
    states = [read_checkpoint(path, torch.device("cpu"))["state"]["iteration"] for path in paths]
    assert sum(states) == int(found[1]) < 300, "the last iteration that was done is in the checkpoint"
    damaged = [] if number == signal.SIGTERM else sorted(folder.glob("work/*/checkpoint.pt"))
    # a signal right after a cell's first save finds nothing new to save
    remedies = {
        path: "going on from" if path.with_name("checkpoint.previous.pt").exists() else "starting anew"
        for path in damaged
    }
    for path in damaged:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(bytes(content))
    done = stage(folder, *REPRESENT)
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == len(damaged)
    for path, remedy in remedies.items():
        (line,) = [line for line in lines if str(path.relative_to(folder)) in line]
        assert "is damaged" in line
        assert remedy in line
    assert weights(folder) == expected


def test_a_killed_worker_is_one_line_and_a_killed_stage_leaves_no_workers(
    planned: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(planned, folder)
    process = begun(folder)
    everyone = family(process.pid)
    os.kill(everyone[-1], signal.SIGKILL)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 3
    assert err.startswith("error: a worker was killed")
    assert err.count("\n") == 1
    assert gone(everyone)

    process = begun(folder)
    everyone = family(process.pid)
    process.kill()
    process.communicate(timeout=30)
    assert gone(everyone)
    done = stage(folder, *REPRESENT)
    assert done.returncode == 0, done.stderr
    assert weights(folder) == expected


def test_a_full_disk_stops_with_one_line_and_leaves_the_last_good_state(
    planned: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(planned, folder)
    command = f"ulimit -f 100 && exec {sys.executable} -m {' '.join(REPRESENT)}"  # in units of a KiB
    done = subprocess.run(
        ["bash", "-c", command], cwd=folder, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 3, done.stderr
    assert re.fullmatch(r"error: .*File too large.*checkpoint\.pt-.*; the same.*\n|error: .*\n", done.stderr)
    assert "File too large" in done.stderr
    assert not (folder / "models").exists()
    assert not list(folder.glob("work/*/.*")), "nothing half-written is left"
    assert stage(folder, *REPRESENT).returncode == 0
    assert weights(folder) == expected


def test_work_of_another_fingerprint_is_never_taken(undisturbed: Path, tmp_path: Path) -> None:
    """Work of one training under the name of another, as a careless copy leaves it."""
    folder = tmp_path / "copy"
    shutil.copytree(undisturbed, folder)
    one, other = sorted(folder.glob("work/*"))
    shutil.rmtree(other)
    shutil.copytree(one, other)
    done = stage(folder, *REPRESENT)
    assert done.returncode == 2
    assert "of another training (seed " in done.stderr
    assert json.loads((other / "finished" / "cell.json").read_text())["fingerprint"] == one.name
