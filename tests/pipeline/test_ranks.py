"""Ranks started by torchrun: results, a killed rank, a signal, another number of them."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from torch.distributed import HashStore  # pyright: ignore[reportPrivateImportUsage]

from longtail.pipeline.ranks import _died
from longtail.running.cell_folders import RESULTS, read_cell
from tests.support.processes import family, gone
from tests.support.stage_runs import DATA, run_stage, run_stages, start_python

METHOD = "meta_weight_net"
REPRESENT = ("50", METHOD, "--device", "cpu")
MODELS = Path("models/digits-lt/imb50") / METHOD

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")


def torchrun(folder: Path, *words: str, ranks: int = 2) -> subprocess.Popen[str]:
    """Ranks of `python -m <words>` in `folder`."""
    command = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks))
    return start_python(folder, *command, "-m", *words)


def begun(folder: Path) -> subprocess.Popen[str]:
    """The training, once it has written a checkpoint."""
    start = time.time()
    process = torchrun(folder, "stages.represent", *REPRESENT)
    while process.poll() is None:
        written = [path.stat().st_mtime for path in folder.glob("work/*/checkpoint.pt")]
        if max(written, default=0.0) > start:
            break
        assert time.time() < start + 240
        time.sleep(0.02)
    return process


def process_of(rank: int, agent: int) -> int:
    """The process of a rank below torchrun's `agent`."""
    for process in family(agent):
        if f"RANK={rank}" in Path(f"/proc/{process}/environ").read_text().split("\0"):
            return process
    raise AssertionError(f"no rank {rank}")


def own_lines(errors: str) -> list[str]:
    """What the ranks themselves say on stderr; torchrun has much to say beside it."""
    return [line for line in errors.splitlines() if re.match("error: |stopped: |warning: ", line)]


def results(folder: Path) -> dict[str, bytes]:
    files = [folder / MODELS / seed / name for seed in ("seed1", "seed2") for name in (*RESULTS, "cell.json")]
    return {f"{file.parent.name}/{file.name}": file.read_bytes() for file in files}


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which all is ready for training."""
    folder = tmp_path_factory.mktemp("ranks")
    (folder / "params.yaml").write_text("lambda: 0.3\nimbalances: {digits-lt: [50]}\nseeds: [1, 2]\n")
    run_stages(folder, *DATA)
    return folder


def test_killed_and_stopped_ranks_resume_to_the_same_bytes(planned: Path, tmp_path: Path) -> None:
    whole, disturbed = tmp_path / "whole", tmp_path / "disturbed"
    for folder in (whole, disturbed):
        shutil.copytree(planned, folder)
    output, errors = (done := torchrun(whole, "stages.represent", *REPRESENT)).communicate()
    assert done.returncode == 0, errors
    assert output.count("2 ranks together") == output.count("done: ") == 1
    assert read_cell(whole / MODELS / "seed1").ranks == 2

    killed = begun(disturbed)
    ranks = family(killed.pid)
    os.kill(process_of(1, killed.pid), signal.SIGKILL)
    _, errors = killed.communicate()
    said = "error: rank 1 died (killed, out of memory?); re-run the same command to resume"
    assert own_lines(errors) == [said]
    assert gone(ranks)

    result = run_stage(disturbed, "represent", *REPRESENT, "--seed", "1")
    assert result.code == 2
    assert "which cannot be resumed with 1 process; start 2 ranks, or delete it" in result.stderr

    stopped = begun(disturbed)
    os.kill(process_of(1, stopped.pid), signal.SIGTERM)
    _, errors = stopped.communicate()
    (line,) = own_lines(errors)
    assert re.fullmatch(
        r"stopped: by SIGTERM at iteration \d+ of 300, 2 cells; re-run the same command to resume", line
    )

    output, errors = (resumed := torchrun(disturbed, "stages.represent", *REPRESENT)).communicate()
    assert resumed.returncode == 0, errors
    assert results(disturbed) == results(whole)


def test_a_rank_that_is_still_dying_is_found() -> None:
    """The kernel closes the connections of a killed process before the process is gone."""
    store = HashStore()
    with subprocess.Popen(["sleep", "60"]) as dying:
        for rank, process in enumerate((os.getpid(), dying.pid)):
            store.set(f"process {rank}", f"{process} {socket.gethostname()}")
        assert _died(store, 2) == []
        death = threading.Timer(0.3, dying.kill)
        death.start()
        assert _died(store, 2, within=60) == [1]
        store.set("left 0", "")
        store.set("left 1", "")
        assert _died(store, 2, within=60) == []  # at once: all have left


@pytest.mark.parametrize("rank", ["0", "1"])
def test_other_stages_are_refused_in_one_line(
    rank: str, planned: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "run")
    monkeypatch.setenv("RANK", rank)
    result = run_stage(planned, "plan")
    assert result.code == (2 if rank == "0" else 0)  # torchrun would end rank 0 before it speaks
    assert result.stderr.endswith("runs in one process; start it without torchrun\n") is (rank == "0")
    assert result.stderr.count("\n") == (rank == "0")
