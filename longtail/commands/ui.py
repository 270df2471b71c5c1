"""`longtail ui`: MLflow's pages of this repository, on this machine only."""

import os
import socket
import sys
from typing import Annotated

import typer

from longtail.pipeline import console, paths

HOST = "127.0.0.1"
HOSTS = "MLFLOW_SERVER_ALLOWED_HOSTS"
"""MLflow's own variable: host names under which it answers, with commas between them."""


def main(port: Annotated[int, typer.Option(help="The port on 127.0.0.1.", min=1, max=65535)] = 5000) -> None:
    """Show the runs: serve MLflow on 127.0.0.1.

    If MLFLOW_TRACKING_URI names a server, print its address instead. MLflow refuses other host names than
    localhost, as behind a proxy or a tunnel: MLFLOW_SERVER_ALLOWED_HOSTS=NAME allows one.
    """
    from longtail.errors import InputError
    from longtail.pipeline import tracking

    if server := tracking.server():
        here = f"unset {tracking.SERVER} for those of {paths.tracking_root()}"
        console.done("ui", f"{server} has the pages, as `stages.track` writes there; {here}")
        return
    paths.check_repository()
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise InputError(f"port {port}", error.strerror, "choose another with --port") from None
    root = paths.tracking_root()
    if not tracking.database(root).exists():
        console.say("ui", "no runs yet; `dvc repro` makes them")
        with tracking.locked(root):
            tracking.create_database(root)
    address = f"http://{HOST}:{port}"
    console.say("ui", f"{address} (Ctrl-C to stop); choose 'Model training' at its top left, or open")
    if not os.environ.get(HOSTS):
        console.say("ui", f"to reach it by another host name: {HOSTS}=NAME longtail ui")
    pages = tracking.results_pages(root)
    width = max((len(name) for name, _ in pages), default=0)
    for name, page in pages:
        console.say("ui", f"{name:<{width}} {address}/{page}")
    os.environ.update(tracking.QUIET)
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--host",
        HOST,
        "--port",
        str(port),
        "--workers",
        "1",
    ]
    command += ["--backend-store-uri", tracking.store_uri(root)]
    command += ["--default-artifact-root", tracking.artifact_uri(root), "--no-serve-artifacts"]
    os.execv(sys.executable, command)
