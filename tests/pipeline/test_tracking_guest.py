"""MLflow is a guest: locked, away or killed, it changes no result, and `track` brings everything in later."""

import json
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from longtail.pipeline import paths, tracking
from tests.support import report_fixtures as fixtures
from tests.support.mlflow_servers import free_port, mlflow_server
from tests.support.stage_runs import python, run_stage, start_python

# MLflow and sqlalchemy deprecate each other
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

WRITER = """
import sqlite3, sys, time
database = sqlite3.connect(sys.argv[1], timeout=60, isolation_level=None)
database.execute("CREATE TABLE IF NOT EXISTS noise (number INTEGER)")
print("in", flush=True)
while True:
    database.execute("BEGIN EXCLUSIVE")
    database.execute("INSERT INTO noise VALUES (1)")
    time.sleep(0.05)
    database.execute("COMMIT")
    time.sleep(0.4)
"""
"""Locks the database against all others, a ninth of the time."""


@pytest.fixture
def reports(tmp_path: Path) -> Path:
    """Two cells with tables and figures, nothing tracked."""
    folder = tmp_path / "repository"
    plans = fixtures.build(folder, fixtures.params((50,), (1,)), ("cross_entropy", "difficulty_net"))
    fixtures.evaluate(folder, plans)
    names = [f"table{number}.{ending}" for number in range(1, 6) for ending in ("md", "csv")]
    names += [f"figure{number}.{ending}" for number in range(1, 5) for ending in ("svg", "png", "csv")]
    for name in [*names, "index.html", "claims.md", "claims.csv", "metrics.json", "curves.csv"]:
        (folder / paths.report(fixtures.BENCHMARK, name)).write_text(f"{name}\n")
    return folder


def results(folder: Path) -> dict[str, bytes]:
    """What the trainings and evaluations left."""
    return {
        str(path): path.read_bytes()
        for part in ("models", "reports", "data")
        for path in (folder / part).rglob("*")
        if path.is_file()
    }


def tracked(uri: str) -> Counter[tuple[str, ...]]:
    """How often each run stands there, by experiment and identity; all must be whole."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(uri)
    found: Counter[tuple[str, ...]] = Counter()
    for experiment in client.search_experiments():
        for run in client.search_runs([experiment.experiment_id]):
            assert run.info.status == "FINISHED"
            names = ("row_group", "row", "cell", "contents")
            found[experiment.name, *(run.data.tags.get(name, "") for name in names)] += 1
    return found


def store(folder: Path) -> str:
    return tracking.store_uri(folder / "mlruns")


@contextmanager
def writers(database: Path, count: int) -> Iterator[None]:
    """Other processes that lock the database again and again."""
    words = [sys.executable, "-c", WRITER, str(database)]
    running = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(count)]
    try:
        for process in running:
            assert process.stdout is not None
            assert process.stdout.readline() == "in\n"
        yield
    finally:
        for process in running:
            process.kill()
            process.communicate()


def test_eight_processes_that_lock_the_database_cost_time_and_nothing_else(reports: Path) -> None:
    with tracking.locked(reports / "mlruns"):
        tracking.create_database(reports / "mlruns")
    before = results(reports)
    with writers(tracking.database(reports / "mlruns"), 8):
        ran = run_stage(reports, "track")
    assert (ran.code, ran.stderr) == (0, "")
    found = tracked(store(reports))
    assert len(found) > 3
    assert set(found.values()) == {1}
    assert results(reports) == before


def test_a_database_locked_for_good_is_one_line_and_a_later_pass_brings_all_in(
    reports: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "PATIENCE", 1.5)
    root = reports / "mlruns"
    with tracking.locked(root):
        tracking.create_database(root)
    before = results(reports)
    with closing(sqlite3.connect(tracking.database(root), isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        ran = run_stage(reports, "track")
    assert (ran.code, ran.stderr.count("\n")) == (2, 1)
    assert "mlflow.db: database is locked; nothing is lost: `python -m stages.track`" in ran.stderr
    assert "waiting: database is locked" in ran.stdout
    assert tracked(store(reports)) == Counter()
    assert run_stage(reports, "track").code == 0
    assert set(tracked(store(reports)).values()) == {1}
    assert results(reports) == before


def test_another_process_that_tracks_for_ever_is_not_waited_for_for_ever(
    reports: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "QUEUE", 0.3)
    with tracking.locked(reports / "mlruns"):
        ran = run_stage(reports, "track")
    assert (ran.code, ran.stderr.count("\n")) == (2, 1)
    assert "track.lock: another process has been tracking for 0.3 s" in ran.stderr


def test_killed_in_the_middle_it_goes_on_without_doubling_anything(reports: Path) -> None:
    before = results(reports)
    database = tracking.database(reports / "mlruns")
    process = start_python(reports, "-m", "stages.track")
    try:
        count, end = 0, time.monotonic() + 120
        while count < 2 and time.monotonic() < end:
            time.sleep(0.005)
            if database.exists():
                with closing(sqlite3.connect(database)) as connection:
                    count = connection.execute("SELECT count(*) FROM runs").fetchone()[0]
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert count >= 2
    assert process.returncode == -signal.SIGKILL
    ran = run_stage(reports, "track")
    assert ran.code == 0, ran.stderr
    found = tracked(store(reports))
    assert set(found.values()) == {1}
    assert f"{len(found)} runs in " in ran.stdout
    assert " 0 already there" not in ran.stdout
    assert results(reports) == before


WITHOUT_RIGHTS = """
import ctypes, os, sys
for right in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    if os.geteuid() == 0 and ctypes.CDLL(None).prctl(24, right, 0, 0, 0):  # PR_CAPBSET_DROP
        raise SystemExit(77)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""
"""Runs Python for a root who minds permissions as others do."""


TRACK_EACH = """
import json, sys
from pathlib import Path
from tests.support.stage_runs import run_stage
print(json.dumps([vars(run_stage(Path(folder), "track")) for folder in sys.argv[1:]]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="root minds permissions by what Linux offers for it")
def test_a_database_or_a_folder_that_may_not_be_written_is_one_line(reports: Path, tmp_path: Path) -> None:
    cases = (
        (True, "mlflow.db", "mlruns/mlflow.db: it, or its folder, may not be written"),
        (True, ".", "mlruns/mlflow.db: it, or its folder, may not be written"),
        (False, ".", "mlruns/track.lock: Permission denied"),
    )
    roots, before, modes = [], [], {}
    for number, (there, closed, _) in enumerate(cases):
        root = Path(shutil.copytree(reports, tmp_path / str(number))) / "mlruns"
        if there:
            with tracking.locked(root):
                tracking.create_database(root)
        root.mkdir(exist_ok=True)
        roots.append(root)
        before.append({path.name: path.read_bytes() for path in root.iterdir()})
        modes[root / closed] = (root / closed).stat().st_mode
    try:
        for place, mode in modes.items():
            place.chmod(mode & 0o555)
        folders = [str(root.parent) for root in roots]
        ran = python(tmp_path, "-c", WITHOUT_RIGHTS, "-c", TRACK_EACH, *folders)
    finally:
        for place, mode in modes.items():
            place.chmod(mode)
    if ran.returncode == 77:
        pytest.skip("root keeps all rights here")
    assert ran.returncode == 0, ran.stderr
    for (_, _, named), root, files, result in zip(cases, roots, before, json.loads(ran.stdout), strict=True):
        assert (result["code"], result["stderr"].count("\n")) == (2, 1), result["stderr"]
        assert named in result["stderr"]
        assert {path.name: path.read_bytes() for path in root.iterdir()} == files


def test_a_server_that_is_stopped_and_started_during_a_run_ends_up_with_every_run_once(
    reports: Path, tmp_path: Path
) -> None:
    port = free_port()
    before = results(reports)
    address = f"http://127.0.0.1:{port}"
    database = tmp_path / "server" / "server.db"
    with mlflow_server(tmp_path / "server", port):
        process = start_python(reports, "-m", "stages.track", MLFLOW_TRACKING_URI=address)
        count, end = 0, time.monotonic() + 120
        while count < 2 and time.monotonic() < end and process.poll() is None:
            time.sleep(0.005)
            with closing(sqlite3.connect(database, timeout=30)) as connection:
                count = connection.execute("SELECT count(*) FROM runs").fetchone()[0]
    assert count >= 2
    time.sleep(0.5)
    with mlflow_server(tmp_path / "server", port):
        output, errors = process.communicate(timeout=180)
        assert (process.returncode, errors) == (0, "")
        assert f"waiting: API request to {address}" in output
        found = tracked(address)
        again = python(reports, "-m", "stages.track", MLFLOW_TRACKING_URI=address)
        assert set(found.values()) == {1}
        assert f" 0 new, {len(found)} already there" in again.stdout
        assert tracked(address) == found
    assert list((tmp_path / "server" / "artifacts").rglob("per_class.csv"))
    assert not tracking.database(reports / "mlruns").exists()
    assert results(reports) == before


@pytest.mark.parametrize("command", ["track", "ui"])
def test_an_address_that_is_no_servers_is_refused(
    reports: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "file:///somewhere")
    ran = run_stage(reports, command)
    assert ran.code == 2
    assert ran.stderr == (
        "error: MLFLOW_TRACKING_URI=file:///somewhere: not a server; give its http://... or unset it\n"
    )


def test_ui_says_which_server_has_the_pages_and_starts_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("longtail.commands.ui.os.execv", lambda *words: pytest.fail(f"it started {words}"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://tracking.example:5000")
    ran = run_stage(tmp_path, "ui")
    assert (ran.code, ran.stderr, ran.stdout.count("\n")) == (0, "", 1)
    assert "done: http://tracking.example:5000 has the pages" in ran.stdout
    assert "unset MLFLOW_TRACKING_URI for those of " in ran.stdout
    assert not list(tmp_path.iterdir()), "no database was made"
