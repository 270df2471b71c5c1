"""The project's MLflow: one sqlite database and one folder of artifacts, written without a server.

The classes here know runs, not cells; `stages.track` says what a run is made of.
"""

from __future__ import annotations

import hashlib
import os
import re
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from longtail.errors import InputError, flat
from longtail.files import atomic_path
from longtail.pipeline.mlflow_internals import RESULTS, VIEW_TAG, View, create_store, sqlite_uri, view_page

if TYPE_CHECKING:
    from mlflow.entities import Run

T = TypeVar("T")

BATCH = 900
"""Metrics in one call; MLflow takes 1,000 entries, of which 100 may be parameters."""

REMEDY = "move that folder away and run `python -m stages.track`: it is rebuilt from reports/"

QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # workers for evaluations by language models
}
"""Environment under which MLflow tells nobody of its use and starts only what is needed."""

SERVER = "MLFLOW_TRACKING_URI"
"""MLflow's own variable: where it is http://..., runs go to that server instead of the database here."""

PATIENCE = 60.0
"""Seconds for which a database that others lock, or a server that does not answer, is waited for."""

QUEUE = 900.0
"""Seconds for which another process that tracks is waited for."""

LATER = "nothing is lost: `python -m stages.track` brings in later what is missing"

IMPATIENT = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}
"""MLflow itself would ask a server that is away for minutes, and then say it as a traceback."""


@dataclass(frozen=True)
class Record:
    """One run as it should stand in MLflow.

    `identity` are the tags that make it this run and no other. `curves` hold (step, value) pairs.
    `artifacts` map file names to contents. The run ended at `end`, seconds since 1970, after `seconds`.
    """

    name: str
    identity: Mapping[str, str]
    tags: Mapping[str, str]
    params: Mapping[str, str]
    artifacts: Mapping[str, bytes]
    end: float
    seconds: float = 0.0
    metrics: Mapping[str, float] = field(default_factory=dict)
    curves: Mapping[str, list[tuple[int, float]]] = field(default_factory=dict)
    status: str = "FINISHED"
    """Or FAILED; a run with another is one whose logging was cut short."""


def database(root: Path) -> Path:
    """The sqlite file under the tracking root."""
    return root / "mlflow.db"


def store_uri(root: Path) -> str:
    """Where MLflow finds the database."""
    return sqlite_uri(database(root))


def artifact_uri(root: Path) -> str:
    """Where the artifacts of all experiments lie."""
    return (root / "artifacts").as_uri()


def results_pages(root: Path) -> list[tuple[str, str]]:
    """Names and addresses of the views of results, by experiment and in the order in which they were made.

    Asks the database itself: importing MLflow would take seconds. Raises InputError.
    """
    query = "SELECT name, experiment_id, key FROM experiments JOIN experiment_tags USING (experiment_id) "
    query += "WHERE key LIKE ? AND lifecycle_stage = 'active' ORDER BY name, experiment_tags.rowid"
    try:
        with closing(sqlite3.connect(database(root))) as connection:
            found = connection.execute(query, [f"{VIEW_TAG}{RESULTS}%"]).fetchall()
    except sqlite3.DatabaseError as error:
        raise InputError(database(root), error, REMEDY) from None
    keys = [(name, str(experiment), tag.removeprefix(VIEW_TAG)) for name, experiment, tag in found]
    return [
        (f"{name} · {key.removeprefix(RESULTS).replace('-', ' ')}", view_page(experiment, key))
        for name, experiment, key in keys
    ]


def digest(*parts: bytes) -> str:
    """A short name for contents: 16 hexadecimal digits."""
    found = hashlib.sha256()
    for part in parts:
        found.update(len(part).to_bytes(8, "big") + part)
    return found.hexdigest()[:16]


@contextmanager
def locked(root: Path, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Keep other processes out of `root` for the block; `on_wait` is called where another is inside.

    Raises InputError if that one has not left after QUEUE seconds.
    """
    from filelock import FileLock, Timeout

    root.mkdir(parents=True, exist_ok=True)
    lock = FileLock(root / "track.lock")  # the system releases it when this process ends, however it does
    try:
        lock.acquire(blocking=False)
    except Timeout:
        on_wait()
        try:
            lock.acquire(timeout=QUEUE, poll_interval=0.1)
        except Timeout:
            problem = f"another process has been tracking for {QUEUE:g} s"
            raise InputError(lock.lock_file, problem, LATER) from None
    try:
        yield
    finally:
        lock.release()


def create_database(root: Path) -> None:
    """Make the database where there is none; call under `locked`.

    MLflow's migrations die where several processes run them, or one is killed amid them, so they run on a
    file that gets its name when they are through.
    """
    os.environ.update(QUIET)
    if database(root).exists():
        return
    with atomic_path(database(root)) as temporary:
        create_store(temporary, artifact_uri(root))


def server() -> str | None:
    """The address of the server that SERVER names. Raises InputError if it names something else."""
    address = os.environ.get(SERVER) or None
    if address is not None and not address.startswith(("http://", "https://")):
        raise InputError(f"{SERVER}={address}", "not a server", "give its http://... or unset it")
    return address


def check_writable(path: Path) -> None:
    """Begin to write into the database, and leave it as it is.

    MLflow would retry for minutes, or show a traceback. Raises sqlite3's errors, and InputError where the
    file or its folder, which gets a journal, may not be written.
    """
    with closing(sqlite3.connect(path, timeout=1, isolation_level=None)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            connection.execute(f"PRAGMA user_version = {version}")
            connection.execute("ROLLBACK")
        except sqlite3.OperationalError as error:
            if "readonly" not in str(error):
                raise
            reason = "it, or its folder, may not be written; see that both may"
            raise InputError(path, f"{reason}, then run the same command again") from None


def is_temporary(error: BaseException) -> bool:
    """Whether it is worth trying again: a locked database, a server that is away."""
    return any(words in str(error) for words in ("is locked", "API request to", "Connection aborted"))


def patiently(place: str, action: Callable[[], T], on_wait: Callable[[str], None], remedy: str = LATER) -> T:
    """What `action` returns, which is called again for PATIENCE seconds while it fails for a time.

    `action` must take up what it left. Raises InputError, which ends with `remedy`, where MLflow refuses, or
    stays away.
    """
    os.environ.update(QUIET)  # MLflow looks at it where it is first imported
    from mlflow.exceptions import MlflowException

    end, pause = time.monotonic() + PATIENCE, 0.25
    while True:
        try:
            return action()
        except (MlflowException, sqlite3.OperationalError) as error:
            reason = flat(error)[:200]
            if not is_temporary(error) or time.monotonic() >= end:
                raise InputError(place, reason, remedy) from None
            if pause == 0.25:
                on_wait(reason)
            time.sleep(pause)
            pause = min(2 * pause, 5.0)


class Tracker:
    """Experiments and runs of the database under `root`, or of a `server`; use under `locked`.

    Raises InputError if the database is broken, or came here from another folder.
    """

    def __init__(self, root: Path, server: str | None = None) -> None:
        self.root, self.server = root, server
        if server is not None:
            from mlflow.tracking import MlflowClient

            os.environ.update(IMPATIENT)
            self.client = MlflowClient(server)
            self.client.search_experiments(max_results=1)
            return
        create_database(root)
        from mlflow.exceptions import MlflowException
        from mlflow.tracking import MlflowClient

        if database(root).is_file() and not database(root).stat().st_size:
            raise InputError(database(root), "empty", REMEDY)
        try:
            check_writable(database(root))
            self.client = MlflowClient(store_uri(root))
            known = self.client.search_experiments(max_results=1)
        except sqlite3.DatabaseError as error:
            if is_temporary(error):
                raise
            raise InputError(database(root), error, REMEDY) from None
        except MlflowException as error:
            if is_temporary(error):
                raise
            reason = flat(error)
            raise InputError(
                database(root), reason, f"`mlflow db upgrade {store_uri(root)}`, or {REMEDY}"
            ) from None
        # the database holds absolute paths: in a moved or copied repository they lead elsewhere
        for experiment in known:
            place = str(experiment.artifact_location)
            if not place.startswith(artifact_uri(root)):
                raise InputError(database(root), f"its artifacts are in {place}, not here", REMEDY)

    def experiment(self, name: str, description: str, views: Sequence[View]) -> str:
        """The id of the experiment called `name`, made, or taken out of MLflow's bin, where need be.

        The description of a new one begins with links to `views`; people may change it. Views stay current.
        """
        found = self.client.get_experiment_by_name(name)
        if found is None:
            here = f"{artifact_uri(self.root)}/{re.sub(r'[^a-z0-9]+', '-', name.lower())}"
            place = None if self.server else here
            found = self.client.get_experiment(self.client.create_experiment(name, artifact_location=place))
            links = (f"[{view.name}]({view_page(found.experiment_id, view.key)})" for view in views)
            note = f"{' · '.join(links)}\n\n{description}"
            self.client.set_experiment_tag(found.experiment_id, "mlflow.note.content", note)
        experiment = found.experiment_id
        if found.lifecycle_stage == "deleted":
            self.client.restore_experiment(experiment)
        for view in views:
            if found.tags.get(VIEW_TAG + view.key) != view.state:
                self.client.set_experiment_tag(experiment, VIEW_TAG + view.key, view.state)
        return experiment

    def runs(self, experiment: str, identity: tuple[str, ...]) -> dict[tuple[str | None, ...], Run]:
        """All runs of an experiment by their values of the `identity` tags."""
        found: list[Run] = []
        token = None
        while True:
            page = self.client.search_runs([experiment], max_results=1000, page_token=token)
            found += page
            token = page.token
            if not token:
                return {tuple(run.data.tags.get(name) for name in identity): run for run in found}

    def relabel(self, run: Run, record: Record) -> bool:
        """Give a run the name and tags that its record has by now; whether there was anything to do."""
        tags = {name: value for name, value in record.tags.items() if run.data.tags.get(name) != value}
        for name, value in tags.items():
            self.client.set_tag(run.info.run_id, name, value)
        if renamed := run.info.run_name != record.name:
            self.client.update_run(run.info.run_id, name=record.name)
        return bool(tags) or renamed

    def log(self, experiment: str, record: Record, tags: Mapping[str, str], begun: Run | None = None) -> None:
        """Write a run with `tags` on top of its own, or make a `begun` one whole.

        The record's status comes last, so a run without it is one whose logging was cut short. Times are
        derived from the run's start: points logged a second time are the same points.
        """
        from mlflow.entities import Metric, Param

        run = begun or self.client.create_run(
            experiment,
            start_time=round((record.end - record.seconds) * 1000),
            run_name=record.name,
            tags={**tags, **record.tags, **record.identity},
        )
        start, end = run.info.start_time, run.info.start_time + round(record.seconds * 1000)
        run_id = run.info.run_id
        if self.server is None:
            write_artifacts(str(run.info.artifact_uri), record.artifacts)
        else:
            with tempfile.TemporaryDirectory() as folder:
                write_artifacts(Path(folder).as_uri(), record.artifacts)
                self.client.log_artifacts(run_id, folder)
        last = max((step for curve in record.curves.values() for step, _ in curve), default=0) or 1
        points = [Metric(name, value, end, 0) for name, value in record.metrics.items()]  # shown first
        points += [
            Metric(name, value, start + (end - start) * step // last, step)
            for name, curve in record.curves.items()
            for step, value in curve
        ]
        params = [Param(name, value) for name, value in record.params.items()]
        self.client.log_batch(run_id, metrics=points[:BATCH], params=params)
        for first in range(BATCH, len(points), BATCH):
            self.client.log_batch(run_id, metrics=points[first : first + BATCH])
        self.client.set_terminated(run_id, record.status, end)


def write_artifacts(uri: str, artifacts: Mapping[str, bytes]) -> None:
    """Put files into the artifact folder of a run: what MLflow's own call does, without its detours."""
    from urllib.parse import urlparse
    from urllib.request import url2pathname

    folder = Path(url2pathname(urlparse(uri).path))
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in artifacts.items():
        (folder / name).write_bytes(content)
