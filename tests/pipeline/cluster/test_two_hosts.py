"""Two hosts, as network namespaces with one shared folder, over TLS."""

import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from benchmarks.kills import contents
from tests.support import clusters
from tests.support.stage_runs import environment

PARAMS = (
    "lambda: 0.3\nimbalances: {digits-lt: [50]}\nseeds: [1, 2]\nschedule: {fraction: 0.04, batch_size: 32}\n"
)
WORDS = (
    "-m",
    "longtail",
    "reproduce",
    "--benchmark",
    "digits-lt",
    "--device",
    "cpu",
    "--only",
    "cross_entropy",
)


@pytest.fixture(scope="module")
def hosts() -> Iterator[list[tuple[str, ...]]]:
    """What stands before a command to run it on the first host, 10.213.7.1, or the second, 10.213.7.2."""
    if os.geteuid() or shutil.which("ip") is None:
        pytest.skip("network namespaces need root and iproute2")
    mark = uuid.uuid4().hex[:6]
    names = [f"lt{mark}a", f"lt{mark}b"]

    def ip(*words: str, check: bool = True) -> None:
        subprocess.run(["ip", *words], check=check, capture_output=True)

    try:
        try:
            for name in names:
                ip("netns", "add", name)
            ip("link", "add", names[0], "type", "veth", "peer", "name", names[1])
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no network namespaces here: {error.stderr.decode().strip()}")
        for number, name in enumerate(names, start=1):
            ip("link", "set", name, "netns", name)
            ip("-n", name, "addr", "add", f"10.213.7.{number}/24", "dev", name)
            ip("-n", name, "link", "set", name, "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield [("ip", "netns", "exec", name) for name in names]
    finally:
        for name in names:
            ip("netns", "del", name, check=False)
        ip("link", "del", names[0], check=False)


def certificates(folder: Path) -> dict[str, str]:
    """The variables that docs/cluster.md sets, with certificates for scheduler, workers and clients."""
    from distributed import Security

    made = Security.temporary()
    (folder / "cert.pem").write_text(str(made.tls_ca_file))
    (folder / "key.pem").write_text(str(made.tls_scheduler_key))
    prefix, found = "DASK_DISTRIBUTED__COMM__TLS__", {}
    for role in ("SCHEDULER", "WORKER", "CLIENT"):
        found[f"{prefix}{role}__CERT"] = str(folder / "cert.pem")
        found[f"{prefix}{role}__KEY"] = str(folder / "key.pem")
    return {**found, f"{prefix}CA_FILE": str(folder / "cert.pem")}


def trained(folder: Path) -> dict[str, dict[str, bytes]]:
    """All files of the finished trainings, by fingerprint."""
    return {path.parent.name: contents(path) for path in folder.glob("work/*/finished")}


def test_two_hosts_train_over_tls_and_strangers_are_refused(
    hosts: list[tuple[str, ...]], tmp_path: Path
) -> None:
    tls, folder, local = certificates(tmp_path), tmp_path / "run", tmp_path / "local"
    for place in (folder, local):
        place.mkdir()
        (place / "params.yaml").write_text(PARAMS)

    def client(place: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        command = [*hosts[0], sys.executable, *WORDS, *words]
        return subprocess.run(
            command, cwd=place, env=environment(**variables), capture_output=True, text=True, check=False
        )

    with ExitStack() as stack:
        address, _ = stack.enter_context(
            clusters.scheduler(tmp_path, "tls://10.213.7.1:8786", hosts[0], **tls)
        )
        assert address == "tls://10.213.7.1:8786"
        for number, host in enumerate(hosts):
            words = ("-m", "longtail", "workers", address, "--count", "1")
            log = tmp_path / f"workers{number}.log"
            stack.enter_context(clusters.group(words, log, host, **tls))
        done = client(folder, "--cluster", address, **tls)
        assert done.returncode == 0, done.stderr
        stranger = client(local, "--cluster", address)
        assert stranger.returncode == 2
        assert f"error: {address}: no certificates" in stranger.stderr
        plain = client(local, "--cluster", "tcp://10.213.7.1:8786")
        assert plain.returncode == 2
        assert "not encrypted: whoever reaches this port can run code as you" in plain.stderr
    assert client(local, "--jobs", "1").returncode == 0
    found = trained(folder)
    assert found == trained(local)
    assert len(found) == 2


def test_the_training_of_a_machine_that_vanishes_resumes_on_another(
    hosts: list[tuple[str, ...]], tmp_path: Path
) -> None:
    """Nobody closes the connections of a machine without power: only silence tells."""
    folder, local = tmp_path / "run", tmp_path / "local"
    for place in (folder, local):
        place.mkdir()
        (place / "params.yaml").write_text(
            PARAMS.replace("[1, 2]", "[1]").replace("fraction: 0.04", "length: 1500")
        )
    silence = {"DASK_DISTRIBUTED__COMM__TIMEOUTS__TCP": "11s"}  # the shortest that Dask takes
    with ExitStack() as stack:
        address, _ = stack.enter_context(
            clusters.scheduler(tmp_path, "tcp://10.213.7.1:8786", hosts[0], **silence)
        )
        words = ("-m", "longtail", "workers", address, "--count", "1", "--insecure")
        vanishing = stack.enter_context(clusters.group(words, tmp_path / "workers1.log", hosts[1], **silence))
        told = folder / "client.log"
        command = (*WORDS, "--cluster", address, "--insecure")
        client = stack.enter_context(clusters.group(command, told, hosts[0], **silence))
        deadline = time.monotonic() + 240
        while not list(folder.glob("work/*/checkpoint.pt")):
            assert client.poll() is None, told.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        subprocess.run(["ip", "-n", hosts[1][-1], "link", "set", hosts[1][-1], "down"], check=True)
        os.killpg(vanishing.pid, signal.SIGKILL)
        stack.enter_context(clusters.group(words, tmp_path / "workers0.log", hosts[0], **silence))
        assert client.wait(240) == 0, told.read_text()
    host = os.uname().nodename
    assert f"cross_entropy-seed1: its worker on {host} died (1 of 3); it resumes" in told.read_text()
    done = subprocess.run(
        [sys.executable, *WORDS], cwd=local, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = trained(folder)
    assert found == trained(local)
    assert len(found) == 1
