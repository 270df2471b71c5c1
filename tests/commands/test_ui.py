"""`longtail ui`: MLflow's pages on this machine, with the addresses of the prepared views."""

import json
import os
import signal
import socket
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError

import pytest

from longtail.commands import ui
from longtail.pipeline.mlflow_internals import View
from longtail.pipeline.tracking import Tracker
from tests.support.stage_runs import run_stage, start_python

# MLflow and sqlalchemy deprecate each other
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture
def port() -> Iterator[int]:
    """A port of 127.0.0.1 that is taken."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]


def test_ui_on_a_taken_port_is_one_line(tmp_path: Path, port: int) -> None:
    (tmp_path / "params.yaml").touch()
    done = run_stage(tmp_path, "ui", "--port", str(port))
    assert done.code == 2
    assert done.stderr.splitlines() == [
        f"error: port {port}: Address already in use; choose another with --port"
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]


@pytest.mark.parametrize("hosts", [None, "my.host"])
def test_ui_serves_the_experiments(tmp_path: Path, hosts: str | None) -> None:
    """Under another name only where MLflow's variable, which the command prints, has it."""
    (tmp_path / "params.yaml").touch()
    tracker = Tracker(tmp_path / "mlruns")
    for view in ("imbalance-50", "imbalance-10"):
        tracker.experiment("digits-lt · Table 1", "", [View(view, f"results-{view}", ["metrics.`acc_all`"])])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        chosen = free.getsockname()[1]
    more = {} if hosts is None else {ui.HOSTS: hosts}
    server = start_python(tmp_path, "-m", "longtail", "ui", "--port", str(chosen), **more)
    try:
        assert server.stdout is not None
        assert f"http://127.0.0.1:{chosen} " in server.stdout.readline()
        if hosts is None:
            assert server.stdout.readline().endswith(f"{ui.HOSTS}=NAME longtail ui\n")
        for imbalance in (50, 10):
            assert f"digits-lt · Table 1 · imbalance {imbalance} http" in server.stdout.readline()
        address = (
            f"http://127.0.0.1:{chosen}/ajax-api/2.0/mlflow/experiments/get-by-name?experiment_name=Default"
        )
        for _ in range(120):
            try:
                asked = urllib.request.Request(address, headers={"Host": hosts} if hosts else {})
                with urllib.request.urlopen(asked, timeout=5) as answer:
                    assert json.load(answer)["experiment"]["experiment_id"] == "0"
                break
            except OSError:
                time.sleep(0.25)
        else:
            pytest.fail("no answer from the server")
        if hosts is None:
            foreign = urllib.request.Request(address, headers={"Host": "my.host"})
            with pytest.raises(HTTPError, match="403"):
                urllib.request.urlopen(foreign, timeout=5)
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.communicate(timeout=30)
