"""SIGTERM and Ctrl-C: saved, left, no orphans, and the same command goes on to the same bytes."""

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

from longtail.pipeline.parents import parent_of_shell
from tests.support.processes import family, gone
from tests.support.stage_runs import DATA, environment, python, run_stage, run_stages, start_python

PARAMS = "lambda: 0.3\nimbalances: {digits-lt: [50]}\nseeds: [1, 2]\nschedule: {fraction: 1.0}\n"
METHOD = "meta_weight_net"
"""A slow one: seconds lie between its cells' first checkpoint and their end."""
REPRESENT = ("represent", "50", METHOD, "--device", "cpu")
COMMAND = ("-m", "stages.represent", *REPRESENT[1:])
ITERATIONS = 150
"""Of a cell."""
MODELS = Path("models/digits-lt/imb50") / METHOD

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")


def weights(folder: Path, seeds: tuple[str, ...] = ("seed1", "seed2")) -> dict[str, bytes]:
    files = ("weights.safetensors", "selected.safetensors", "history.parquet", "predictions.parquet")
    return {
        f"{seed}/{name}": (folder / MODELS / seed / name).read_bytes()
        for seed in seeds
        for name in (*files, "cell.json")
    }


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which all is ready for training."""
    folder = tmp_path_factory.mktemp("signals")
    (folder / "params.yaml").write_text(PARAMS)
    run_stages(folder, *DATA)
    return folder


@pytest.fixture(scope="module")
def undisturbed(planned: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training that nobody disturbed, with other threads around it and one worker."""
    folder = tmp_path_factory.mktemp("undisturbed") / "whole"
    shutil.copytree(planned, folder)
    done = python(folder, *COMMAND, "--jobs", "1", OMP_NUM_THREADS="2")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def expected(undisturbed: Path) -> dict[str, bytes]:
    """Its result."""
    return weights(undisturbed)


def begun(folder: Path, words: tuple[str, ...] = COMMAND, cells: int = 2) -> subprocess.Popen[str]:
    """The training, or what runs it, once all cells have a first checkpoint."""
    process = start_python(folder, *words)
    deadline = time.monotonic() + 60
    while len(list(folder.glob("work/*/checkpoint.pt"))) < cells and process.poll() is None:
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
    both = 2 * ITERATIONS
    name = signal.Signals(number).name
    line = rf"stopped: by {name} at iteration (\d+) of {both}, 2 cells; re-run the same command to resume"
    found = re.match(line, err)
    assert found is not None, err
    assert err.count("\n") == 1
    assert not (folder / "models").exists()
    assert len(list(folder.glob("work/*/checkpoint.pt"))) == 2

    import torch

    from longtail.running.checkpoints import read_checkpoint

    paths = folder.glob("work/*/checkpoint.pt")
    states = [read_checkpoint(path, torch.device("cpu"))["state"]["iteration"] for path in paths]
    assert sum(states) == int(found[1]) < both, "the last iteration that was done is in the checkpoint"
    damaged = [] if number == signal.SIGTERM else sorted(folder.glob("work/*/checkpoint.pt"))
    # a signal right after a cell's first save finds nothing new to save
    remedies = {
        path: "resuming from" if path.with_name("checkpoint.previous.pt").exists() else "starting over"
        for path in damaged
    }
    for path in damaged:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(bytes(content))
    done = python(folder, *COMMAND)
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
    run_stages(folder, " ".join(REPRESENT))
    assert weights(folder) == expected


def test_a_full_disk_stops_with_one_line_and_leaves_the_last_good_state(
    planned: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(planned, folder)
    command = f"ulimit -f 100 && exec {sys.executable} {' '.join(COMMAND)}"  # in units of a KiB
    done = subprocess.run(
        ["bash", "-c", command], cwd=folder, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 3, done.stderr
    assert re.fullmatch(r"error: .*File too large.*checkpoint\.pt-.*; the same.*\n|error: .*\n", done.stderr)
    assert "File too large" in done.stderr
    assert not (folder / "models").exists()
    assert not list(folder.glob("work/*/.*")), "nothing half-written is left"
    run_stages(folder, " ".join(REPRESENT))
    assert weights(folder) == expected


def test_work_of_another_fingerprint_is_never_taken(undisturbed: Path, tmp_path: Path) -> None:
    """Work of one training under the name of another, as a careless copy leaves it."""
    folder = tmp_path / "copy"
    shutil.copytree(undisturbed, folder)
    one, other = sorted(folder.glob("work/*"))
    shutil.rmtree(other)
    shutil.copytree(one, other)
    done = run_stage(folder, *REPRESENT)
    assert done.code == 2
    assert "of another training (seed " in done.stderr
    assert json.loads((other / "finished" / "cell.json").read_text())["fingerprint"] == one.name


PIPELINE = f"""
stages:
  represent:
    cmd: python {" ".join(COMMAND)} --seed 1
    deps: [data/digits-lt/plan/imb50/represent/{METHOD}.json]
    outs: [{MODELS}]
"""
LONG = 1e6
"""Seconds of training that no test takes: a training that has them began with the checkpoint that has."""


def lengthened(folder: Path) -> int:
    """Write into the checkpoint that its training took `LONG` longer; the iterations done."""
    import torch

    from longtail.running.checkpoints import Checkpoints, read_checkpoint

    (path,) = folder.glob("work/*/checkpoint.pt")
    found = read_checkpoint(path, torch.device("cpu"))
    state = found["state"]
    longer = {**state, "seconds": state["seconds"] + LONG}
    Checkpoints(path, found["fingerprint"], found["facts"]).save(longer)
    return state["iteration"]


def with_worker(process: subprocess.Popen[str]) -> list[int]:
    """All processes of a pipeline whose stage has just started its worker: it minds signals by then."""
    deadline, found = time.monotonic() + 60, [process.pid]
    while process.poll() is None:
        found = family(process.pid)
        if sum(parent_of_shell(own) is None for own in found) >= 3:  # dvc, the stage, its worker
            break
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


@pytest.mark.parametrize(("around", "shells"), [("{}; true", 1), ('sh -c "{}; true"; true', 2)])
def test_a_process_knows_who_started_it_through_shells_that_wait(around: str, shells: int) -> None:
    program = f"{sys.executable} -c 'from longtail.pipeline.parents import ancestors; print(*ancestors())'"
    command = ["sh", "-c", around.format(program)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True)
    found = [int(word) for word in done.stdout.split()]
    assert (len(found), found[-1]) == (shells + 1, os.getpid())


@pytest.mark.parametrize("shell", ["sh", "bash"])  # dash waits for the stage, bash becomes it
def test_dvc_repro_and_exp_run_go_on_after_a_signal(
    planned: Path, expected: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shell: str
) -> None:
    monkeypatch.setenv("SHELL", shutil.which(shell) or "/bin/sh")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("LONGTAIL_AHEAD", "0")  # of the planned trainings, this pipeline has one
    folder = tmp_path / "copy"
    shutil.copytree(planned, folder)
    (folder / "dvc.yaml").write_text(PIPELINE)
    (folder / ".gitignore").write_text("/data\n/models\n/work\n")
    for words in (
        ["git", "init", "-q"],
        ["git", "config", "user.name", "A"],
        ["git", "config", "user.email", "a@b.c"],
        [sys.executable, "-m", "dvc", "init", "-q"],
        [sys.executable, "-m", "dvc", "config", "core.analytics", "false"],
        ["git", "add", "-A"],
        ["git", "commit", "-qm", "planned"],
    ):
        subprocess.run(words, cwd=folder, env=environment(), check=True, capture_output=True)

    # SIGTERM to dvc alone, in the middle: the stage notices that nobody waits for it
    process = begun(folder, ("-m", "dvc", "repro"), cells=1)
    everyone = with_worker(process)
    to_the_stage(process, signal.SIGTERM)
    assert gone(everyone)
    _, err = process.communicate(timeout=30)
    assert process.returncode == -signal.SIGTERM
    assert "stopped: by SIGTERM at iteration" in err
    assert not (folder / MODELS).exists()
    first = lengthened(folder)
    assert 0 < first < ITERATIONS

    # Ctrl-C, which goes to all, before the training has got anywhere
    process = start_python(folder, "-m", "dvc", "repro")
    everyone = with_worker(process)
    to_all(process, signal.SIGINT)
    assert gone(everyone)
    _, err = process.communicate(timeout=30)
    assert process.returncode > 0
    assert "stopped: by SIGINT " in err  # at an iteration, or before the first
    assert "Traceback" not in err
    assert not (folder / MODELS).exists()
    assert first <= lengthened(folder) < ITERATIONS

    if shell == "bash":  # the shell matters to signals only
        return
    done = python(folder, "-m", "dvc", "exp", "run")
    assert done.returncode == 0, done.stderr
    took = json.loads((folder / MODELS / "seed1" / "timing.json").read_text())["seconds"]
    assert took > 2 * LONG, "anew, and not from the checkpoint"
    assert weights(folder, ("seed1",)) == {
        name: content for name, content in expected.items() if name.startswith("seed1/")
    }
    assert "didn't change, skipping" in python(folder, "-m", "dvc", "repro").stdout
