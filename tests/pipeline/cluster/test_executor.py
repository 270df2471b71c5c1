"""Cells on the workers of a cluster: the bytes of the local executor, whoever dies meanwhile."""

import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.kills import contents
from longtail.pipeline.cluster import executor
from longtail.planning.code import LIBRARY
from tests.support import clusters
from tests.support.stage_runs import Result, python, run_stages, start_python

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")

PARAMS = (
    "lambda: 0.3\nimbalances: {digits-lt: [50]}\nseeds: [1]\nschedule: {fraction: 0.04, batch_size: 32}\n"
)
WORDS = ("--benchmark", "digits-lt", "--device", "cpu")
KINDS = ("cross_entropy", "difficulty_net", "paco", "dro_lt", "cross_entropy-crt", "cross_entropy-balms")
"""Plain, class-level meta, momentum and queue, centroids, frozen features, and these with a meta sampler."""
ONLY = tuple(word for kind in KINDS for word in ("--only", kind))
LONGER = ("--only", "difficulty_net", "--only", "meta_weight_net")


@dataclass
class Site:
    """A scheduler and two workers."""

    folder: Path
    address: str
    scheduler: subprocess.Popen[str]
    machine: subprocess.Popen[str]
    stack: ExitStack

    @property
    def log(self) -> str:
        return (self.folder / "workers.log").read_text()

    @property
    def trained(self) -> Counter[str]:
        """How often workers began to train each cell."""
        return Counter((self.folder / "trained").read_text().split())

    def restart_scheduler(self) -> None:
        _, self.scheduler = self.stack.enter_context(clusters.scheduler(self.folder, self.address))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    with ExitStack() as stack:
        address, scheduler = stack.enter_context(clusters.scheduler(folder))
        words = ("-c", clusters.HOOKED, address, "--count", "2")
        log, trained = folder / "workers.log", folder / "trained"
        machine = stack.enter_context(clusters.group(words, log, TESTS_TRAINED=str(trained)))
        yield Site(folder, address, scheduler, machine, stack)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the data sets."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "params.yaml").write_text(PARAMS)
    run_stages(folder, "plan", "prepare", "subsample 50", "extract_meta 50")
    return folder


def copy_of(made: Path, folder: Path, fraction: float = 0.04) -> Path:
    shutil.copytree(made, folder)
    (folder / "params.yaml").write_text(PARAMS.replace("0.04", str(fraction)))
    return folder


PATIENT = """
from longtail.commands import main
from longtail.pipeline.cluster import executor
executor.DEATHS = 100
main()
"""


def reproduce(folder: Path, *words: str, command: tuple[str, ...] = ("-m", "longtail")) -> Result:
    """Run it in a process of its own: Dask leaves threads, and other tests fork."""
    done = python(folder, *command, "reproduce", *WORDS, *words)
    return Result(done.returncode, done.stdout, done.stderr)


def stages(folder: Path, address: str, *lines: str) -> str:
    """Run stages with LONGTAIL_CLUSTER; what they print."""
    said = ""
    for line in lines:
        done = python(folder, "-m", *f"stages.{line}".split(), LONGTAIL_CLUSTER=address)
        assert done.returncode == 0, done.stderr
        said += done.stdout
    return said


def cells(folder: Path) -> dict[str, dict[str, bytes]]:
    """The content of each finished training, by fingerprint."""
    return {path.parent.name: contents(path) for path in folder.glob("work/*/finished")}


def hidden(folder: Path) -> list[str]:
    """What a run may not leave behind."""
    return [path.name for path in folder.glob("work/.*")] + [str(path) for path in folder.glob("work/*/lock")]


@pytest.fixture(scope="module")
def undisturbed(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Longer trainings by the local executor."""
    folder = copy_of(made, tmp_path_factory.mktemp("undisturbed") / "run", 0.6)
    assert reproduce(folder, *LONGER, "--jobs", "1").code == 0
    return folder


def test_two_workers_give_the_bytes_of_the_local_executor_for_every_kind_of_training(
    site: Site, made: Path, tmp_path: Path
) -> None:
    local, remote = copy_of(made, tmp_path / "local"), copy_of(made, tmp_path / "remote")
    assert reproduce(local, *ONLY, "--jobs", "1").code == 0
    done = reproduce(remote, *ONLY, "--cluster", site.address)
    assert done.code == 0, done.stderr
    found = cells(remote)
    assert len(found) == len(KINDS)
    assert found == cells(local)
    assert hidden(remote) == []
    host = os.uname().nodename
    assert re.search(rf"reproduce    \d workers? of {host} \(.+\) joined\n", done.stdout)
    assert re.search(rf"imb50-paco-seed1: 0\.\d min, meta accuracy [\d.]+ % on {host}; ", done.stdout)
    assert "minutes of training on 2 workers of " in done.stdout
    assert set(site.trained.values()) == {1}


def test_the_dry_run_asks_the_cluster_and_trains_nothing(site: Site, made: Path, tmp_path: Path) -> None:
    folder = copy_of(made, tmp_path / "run")
    done = reproduce(folder, *ONLY, "--cluster", site.address, "--dry-run")
    assert done.code == 0, done.stderr
    assert "0 of 6 trainings are finished; nothing was changed" in done.stdout
    assert not (folder / "work").exists()


def test_stages_send_all_open_cells_at_their_imbalance_together(
    site: Site, made: Path, tmp_path: Path
) -> None:
    folder = copy_of(made, tmp_path / "run", 0.01)
    run_stages(folder, "plan")
    plan = folder / "data/digits-lt/plan/imb50/evaluation.json"
    evaluation = json.loads(plan.read_text())
    kept = ["cross_entropy", "ldam", "cross_entropy-heads"]
    evaluation["bundles"] = [bundle for bundle in evaluation["bundles"] if bundle["bundle"] in kept]
    plan.write_text(json.dumps(evaluation))
    first = stages(folder, site.address, "represent 50 cross_entropy")
    assert re.search(r"\d+ cells of other stages are trained ahead of them\n", first)
    assert re.search(r"digits_resnet on cpu, [12] at once\n", first)
    # without the variable, so that nothing is trained by a cluster
    later = run_stages(folder, "represent 50 ldam", "retrain 50 cross_entropy")
    assert "ldam: 0 cells trained, 1 taken from work/" in later
    assert re.search(r"cross_entropy-heads: 0 cells trained, \d+ taken from work/", later)


def test_a_cell_whose_training_kills_three_workers_fails_and_the_others_go_on(
    site: Site, made: Path, tmp_path: Path
) -> None:
    folder, before = copy_of(made, tmp_path / "run"), site.trained
    words = ("--only", clusters.DEADLY, "--only", "ldam")
    done = reproduce(folder, *words, "--cluster", site.address)
    assert done.code == 0, done.stderr
    host = os.uname().nodename
    reason = f"3 workers died training it, on {host}, {host}, {host} (out of memory?); to try again, delete "
    assert f"imb50-focal-seed1 FAILED on {host}: {reason}" in done.stdout
    for number in (1, 2):
        assert f"imb50-focal-seed1: its worker on {host} died ({number} of 3)" in done.stdout
    assert "1 FAILED" in done.stdout.splitlines()[-1]
    assert (site.trained - before)["imb50-focal-seed1"] == 3
    assert sorted(len(files) for files in cells(folder).values())[0] == 1, "only failed.json"
    assert "imb50-ldam-seed1: 0." in done.stdout
    assert "was killed by SIGKILL; starting it again" in site.log


def test_trainings_whose_workers_are_killed_at_random_moments_end_in_the_same_bytes(
    site: Site, made: Path, undisturbed: Path, tmp_path: Path
) -> None:
    draws, expected, kills = random.Random(5), cells(undisturbed), 0
    for attempt in range(10):
        folder = copy_of(made, tmp_path / f"run{attempt}", 0.6)
        ended = threading.Event()

        def disturb(folder: Path = folder, ended: threading.Event = ended) -> None:
            nonlocal kills
            while not list(folder.glob("work/*/")) and not ended.is_set():
                time.sleep(0.02)
            while kills < 10 and not ended.wait(draws.uniform(0.1, 1.0)):
                if found := clusters.worker_processes(site.machine):
                    os.kill(draws.choice(found), signal.SIGKILL)
                    kills += 1

        thread = threading.Thread(target=disturb)
        thread.start()
        try:
            done = reproduce(folder, *LONGER, "--cluster", site.address, command=("-c", PATIENT))
        finally:
            ended.set()
            thread.join()
        assert done.code == 0, done.stderr
        assert cells(folder) == expected
        if kills == 10:
            break
    assert kills == 10


def begun(folder: Path, site: Site) -> subprocess.Popen[str]:
    """A client whose trainings have a first checkpoint."""
    words = ("-m", "longtail", "reproduce", *WORDS, *LONGER, "--cluster", site.address)
    process = start_python(folder, *words)
    deadline = time.monotonic() + 120
    while len(list(folder.glob("work/*/checkpoint.pt"))) < 2 and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return process


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit code and stderr of a client."""
    try:
        return process.wait(60), process.communicate()[1]
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def long(made: Path, tmp_path: Path) -> Path:
    """Trainings that nobody waits for to end."""
    folder = copy_of(made, tmp_path / "run")
    (folder / "params.yaml").write_text(PARAMS.replace("fraction: 0.04", "length: 1000000"))
    return folder


def test_ctrl_c_at_the_client_lets_the_workers_save_and_return(
    site: Site, long: Path, undisturbed: Path
) -> None:
    before = clusters.worker_processes(site.machine)
    process = begun(long, site)
    process.send_signal(signal.SIGINT)
    code, err = ended(process)
    assert code == 130
    found = re.fullmatch(r"stopped: by SIGINT at iteration (\d+) of \d+, 2 cells; .* to resume\n", err)
    assert found, err
    assert saved(long) == int(found[1])
    assert hidden(long) == [str(path) for path in long.glob("work/*/lock")]
    assert clusters.worker_processes(site.machine) == before


def saved(folder: Path) -> int:
    """Iterations in all checkpoints."""
    import torch

    from longtail.running.checkpoints import read_checkpoint

    paths = folder.glob("work/*/checkpoint.pt")
    return sum(read_checkpoint(path, torch.device("cpu"))["state"]["iteration"] for path in paths)


def test_trainings_of_a_killed_client_are_saved_and_their_workers_free(
    site: Site, long: Path, made: Path, tmp_path: Path
) -> None:
    process = begun(long, site)
    process.kill()
    ended(process)
    other = copy_of(made, tmp_path / "other")
    assert reproduce(other, "--only", "cross_entropy", "--cluster", site.address).code == 0
    assert not list(long.glob("work/*/finished"))


def test_after_the_scheduler_died_the_same_command_resumes(
    site: Site, made: Path, undisturbed: Path, tmp_path: Path
) -> None:
    folder = copy_of(made, tmp_path / "run", 0.6)
    for _ in range(5):
        process = begun(folder, site)
        site.scheduler.kill()
        code, err = ended(process)
        if code:
            break
        shutil.rmtree(folder / "work")  # it ended before the scheduler did
        site.restart_scheduler()
    gone = f"the scheduler at {site.address} is gone; start it and re-run the same command to resume"
    assert (code, err) == (3, f"error: {gone}\n")
    done = reproduce(folder, *LONGER, "--cluster", site.address)
    assert done.code == 2
    assert f"error: {site.address}: no scheduler answers on " in done.stderr
    site.restart_scheduler()
    done = reproduce(folder, *LONGER, "--cluster", site.address)
    assert done.code == 0, done.stderr
    assert cells(folder) == cells(undisturbed)
    assert "lost its scheduler; starting it again" in site.log


def test_a_cell_that_two_clients_want_is_trained_once(site: Site, made: Path, tmp_path: Path) -> None:
    """Two experiments of one repository: they share work/ only."""
    folders = [copy_of(made, tmp_path / name, 0.3) for name in ("one", "two")]
    words = ("-m", "longtail", "reproduce", *WORDS, "--only", "lade", "--cluster", site.address)
    before = site.trained
    clients = [start_python(folder, *words, DVC_ROOT=str(tmp_path)) for folder in folders]
    codes = [ended(client) for client in clients]
    assert [code for code, _ in codes] == [0, 0], codes
    assert site.trained - before == {"imb50-lade-seed1": 1}
    one, two = (contents(folder / "models/digits-lt/imb50/lade/seed1") for folder in folders)
    assert one == two


def test_a_worker_with_another_version_of_one_file_is_refused(site: Site, made: Path, tmp_path: Path) -> None:
    other = tmp_path / "code"
    shutil.copytree(LIBRARY, other / "longtail")
    file = other / "longtail/methods/focal.py"
    file.write_text(file.read_text() + "\nOTHER = 1\n")
    words, log = ("-m", "longtail", "workers", site.address, "--count", "1"), tmp_path / "other.log"
    with clusters.group(words, log, PYTHONPATH=str(other)):
        deadline = time.monotonic() + 120
        while "joined" not in log.read_text():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        done = reproduce(copy_of(made, tmp_path / "run"), "--only", "ldam", "--cluster", site.address)
    assert done.code == 0, done.stderr
    host = os.uname().nodename
    refused = f"warning: {host}: longtail/methods/focal.py differs; its worker gets no cells\n"
    assert done.stderr == refused


ASK = """
import json, sys
from longtail.pipeline.cluster import executor
from longtail.pipeline.cluster.worker import prove
from tests.support.clusters import decode
address, path, content = sys.argv[1:]
client = executor.connect(address, False)
shape = client.submit(decode, path, content, pure=False).result(60)
facts = client.submit(prove, ".", path + "x", "digits-lt", pure=False).result(60)
client.run_on_scheduler(executor.be_patient)
ttl = client.run_on_scheduler(lambda dask_scheduler: dask_scheduler.worker_ttl)
print(json.dumps([shape, facts["gpus"], facts["device"], facts["probe"], ttl]))
client.close()
"""


def test_workers_see_no_second_gpu_and_may_start_processes_that_decode(site: Site, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (12, 10)).save(path)
    content = hashlib.sha256(path.read_bytes()).hexdigest()
    done = python(tmp_path, "-c", ASK, site.address, str(path), content)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [[1, 3, 8, 8], 0, "cpu", None, executor.PATIENCE]
