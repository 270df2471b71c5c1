"""The executor of a cluster: it gives each job to one free worker, and to another if that one dies."""

from __future__ import annotations

import sys
import threading
import time
import uuid
from collections import Counter, deque
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from multiprocessing import RawValue
from pathlib import Path
from typing import TYPE_CHECKING, Any

from longtail.errors import InputError, MachineError, flat
from longtail.files import move_whole, own_temporary, remove_leftovers, write_text
from longtail.pipeline import console, paths
from longtail.pipeline.cluster import worker
from longtail.pipeline.cluster.connection import connect
from longtail.pipeline.cluster.proof import difference, facts
from longtail.pipeline.signals import Signals
from longtail.pipeline.workers import GRACE
from longtail.running.cell_folders import Failure

if TYPE_CHECKING:
    from longtail.running.jobs import CellInputs, Job

DEATHS = 3
"""Workers that may die training one cell; it has then failed."""

LOOK = 0.5
"""Seconds between two looks at which workers there are."""

FETCH = 2.0
"""Seconds for the result of a finished task: if its worker dies first, Dask waits for it forever."""

SEEN = 60.0
"""Seconds until a folder that another machine made is seen here: file systems remember what was not there."""

PATIENCE = 3600.0
"""Seconds without a heartbeat until a worker counts as dead: code that holds Python's lock delays them.
A machine that is gone is noticed by its connection, after some 30 s."""


def be_patient(dask_scheduler: Any = None) -> None:
    """Called in the scheduler."""
    dask_scheduler.worker_ttl = max(dask_scheduler.worker_ttl or 0.0, PATIENCE)


@dataclass
class Task:
    """A job of this run."""

    job: Job
    finished: Path
    result: Future[None] = field(default_factory=Future)
    """For the scheduler of the pipeline."""
    address: str = ""
    """Of its worker."""
    remote: Any = None
    """Dask's future."""
    hosts: list[str] = field(default_factory=list)
    """Of the workers that died with it."""
    ended: float | None = None
    """When its worker said that the folder is there."""


class Cluster:
    """An `Executor` on the workers of the Dask scheduler at `address`."""

    def __init__(
        self,
        stage: str,
        address: str,
        insecure: bool,
        inputs: CellInputs,
        device: str = "auto",
        jobs: int = 0,
    ) -> None:
        """Connect, and wait for the first worker.

        Args:
            stage: the name in front of each printed line.
            insecure: see `check_address`.
            inputs: of any imbalance; workers must read the same pool.
            device: that workers must train on; "auto": any.
            jobs: the most trainings at once; 0: as many as there are workers.

        Raises:
            InputError: no scheduler answers, strangers could reach it, or all its workers are refused.
        """
        self.stage, self.address, self.jobs = stage, address, jobs
        self.device = device
        self._client = connect(address, insecure)
        self._pool, images = inputs.pool, inputs.images
        self._images = str(images.absolute()) if isinstance(images, Path) else None
        self._run, self._folder = uuid.uuid4().hex, str(Path.cwd())
        paths.work().mkdir(exist_ok=True)
        remove_leftovers(paths.work())
        self._probe = own_temporary(paths.work() / "probe")
        self._proofs: dict[str, Any] = {}
        self._accepted: dict[str, dict[str, Any]] = {}
        """Facts of the workers that may train, by address."""
        self._refused: dict[str, str] = {}
        self._joined: Counter[str] = Counter()
        self._places: dict[str, str] = {}
        self._tasks: dict[str, Task] = {}
        self._waiting: deque[Task] = deque()
        self._reached: dict[str, int] = {}
        self._wake, self._over = threading.Event(), False
        self._looked, self._stopping = 0.0, False
        self._thread = threading.Thread(target=self._look_on, daemon=True)
        try:
            write_text(self._probe, self._run)
            own = {**facts(), "probe": self._run, "pool": self._pool.fingerprint}
            self._own = {**own, "place": str(self._probe)}
            self._client.run_on_scheduler(be_patient)
            self._client.subscribe_topic(worker.TOPIC, self._hear)
            self._wait_for_workers()
        except BaseException:
            self._close()
            raise
        self.signals = Signals(RawValue("i", 0))
        self._thread.start()

    @property
    def workers(self) -> int:
        """Jobs that run at once; with no worker left, one waits for the next to join."""
        return max(1, min(self.jobs or len(self._accepted), len(self._accepted)))

    @property
    def kind(self) -> str:
        """The device of the first worker."""
        return next((found["device"] for found in self._accepted.values()), "cpu")

    @property
    def hardware(self) -> str:
        """All workers that have joined, for readers of the results."""
        return ", ".join(
            f"{console.counted(count, 'worker')} of {kind}" for kind, count in self._joined.items()
        )

    def where(self, fingerprint: str) -> str:
        """The host that trained a cell, or ""."""
        return self._places.get(fingerprint, "")

    def submit(self, job: Job, finished: Path) -> Future[None]:
        """Train `job` into the folder `finished`, as soon as a worker is free."""
        task = self._tasks[job.fingerprint] = Task(job, finished)
        self._waiting.append(task)
        self._wake.set()
        return task.result

    @property
    def reached(self) -> dict[str, int]:
        """Iterations done of each job, by its fingerprint."""
        return dict(self._reached)

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            if error is not None:
                self.signals.stop()
            if self.signals.received:
                self._stopping = True
                self._wake.set()
                wait([task.result for task in self._tasks.values()], timeout=GRACE)
        finally:
            self._over = True
            self._wake.set()
            self._thread.join(timeout=GRACE)
            self._close()
            self.signals.restore()

    def _close(self) -> None:
        self._probe.unlink(missing_ok=True)
        self._client.close(timeout=1)

    # in the thread `_look_on`

    def _look_on(self) -> None:
        while not self._over:
            self._wake.wait(LOOK)
            self._wake.clear()
            try:
                self._look()
            except Exception as error:
                lost = self._client.status != "running" or isinstance(error, OSError)
                gone = MachineError(
                    f"the scheduler at {self.address} is gone; start it and re-run the same command to resume"
                )
                for task in [task for task in self._tasks.values() if not task.result.done()]:
                    task.result.set_exception(gone if lost else error)
                return

    def _look(self) -> None:
        if self._client.status != "running":
            raise OSError("the connection is lost")
        if self._stopping:
            self._stop_all()
        now = time.monotonic()
        if now - self._looked >= LOOK:
            self._looked = now
            self._see_workers()
        for task in [task for task in self._tasks.values() if task.remote is not None]:
            if task.ended is not None or task.remote.done():
                self._collect(task)
            elif task.address not in self._accepted:
                self._bury(task)
        busy = {task.address for task in self._tasks.values() if task.remote is not None}
        for address in [address for address in self._accepted if address not in busy]:
            if self._waiting:
                self._place(self._waiting.popleft(), address)

    def _see_workers(self) -> None:
        """Ask new workers for their proof, accept or refuse them, and forget those that are gone."""
        there = self._client.nthreads()
        for address in there.keys() - self._proofs.keys():
            words = (self._folder, str(self._probe), self._pool.benchmark)
            self._proofs[address] = self._submit(worker.prove, *words, address=address)
        joined: Counter[str] = Counter()
        for address, proof in list(self._proofs.items()):
            if address not in there:
                self._proofs.pop(address)
                self._refused.pop(address, None)
                if (found := self._accepted.pop(address, None)) is not None:
                    console.say(self.stage, f"a worker of {found['host']} has left")
            elif proof is not None and proof.done():
                try:
                    found, why = self._judge(proof)
                except TimeoutError:  # its worker has just died
                    continue
                self._proofs[address] = None
                if why is not None:
                    self._refused[address] = why
                    print(f"warning: {why}; its worker gets no cells", file=sys.stderr, flush=True)
                else:
                    self._accepted[address] = found
                    joined[f"{found['host']} ({found['hardware']})"] += 1
                    self._joined[found["hardware"]] += 1
        for place, count in joined.items():
            console.say(self.stage, f"{console.counted(count, 'worker')} of {place} joined")

    def _judge(self, proof: Any) -> tuple[dict[str, Any], str | None]:
        """The facts of a worker, and why it is refused, in one line. Raises TimeoutError."""
        if proof.status == "error":
            return {}, f"a worker cannot prove what it is: {flat(proof.exception())}"
        found = proof.result(FETCH)
        why = difference(found, self._own, self.device)
        return found, None if why is None else f"{found['host']}: {why}"

    def _submit(self, function: Any, *words: Any, address: str) -> Any:
        # impure: the same words are another task; pinned: we count the deaths ourselves
        options = {"pure": False, "workers": [address], "allow_other_workers": False}
        remote = self._client.submit(function, *words, **options)
        remote.add_done_callback(lambda _: self._wake.set())
        return remote

    def _place(self, task: Task, address: str) -> None:
        from pydantic import TypeAdapter

        from longtail.running.jobs import Job

        # the record of a cell has the settings that were given, so the others stay out here
        content = TypeAdapter(Job).dump_json(task.job, exclude_unset=True)
        order = worker.Order(
            self._run,
            self._folder,
            content,
            str(task.finished.absolute()),
            self._pool.fingerprint,
            self._images,
        )
        task.address = address
        self._places[task.job.fingerprint] = self._accepted[address]["host"]
        task.remote = self._submit(worker.train, order, address=address)

    def _collect(self, task: Task) -> None:
        """Take the result of a task that has ended, and release it."""
        from distributed.scheduler import KilledWorker

        if task.ended is None:
            if task.remote.status == "cancelled":
                raise OSError("the connection is lost")
            if task.remote.status == "error":
                error = task.remote.exception()
                if isinstance(error, KilledWorker):
                    self._bury(task)
                else:
                    task.remote = None
                    task.result.set_exception(error)
                return
            try:
                there = task.remote.result(FETCH)
            except TimeoutError:  # its worker has just died, and the result with it
                return
            if not there:
                task.remote = None
                if self._stopping:
                    task.result.set_result(None)
                else:  # its worker leaves, having saved
                    self._accepted.pop(task.address, None)
                    self._waiting.appendleft(task)
                return
            task.ended = time.monotonic()
        list(task.finished.parent.iterdir())  # lets a network file system look again
        if task.finished.is_dir():
            task.remote = None
            task.result.set_result(None)
        elif time.monotonic() - task.ended > SEEN:
            task.remote = None
            task.result.set_exception(
                MachineError(f"{self.where(task.job.fingerprint)} made {task.finished}, which is not here")
            )

    def _bury(self, task: Task) -> None:
        """Give a task whose worker died to another, or record that it failed."""
        host = self.where(task.job.fingerprint)
        task.remote = None
        task.hosts.append(host)
        reached = self._reached.pop(task.job.fingerprint, 0)
        if task.finished.is_dir() or self._stopping:
            task.result.set_result(None)
        elif len(task.hosts) < DEATHS:
            count = f"{len(task.hosts)} of {DEATHS}"
            console.say(
                self.stage, f"{task.job.name}: its worker on {host} died ({count}); it resumes on the next"
            )
            self._waiting.appendleft(task)
        else:
            reason = (
                f"{DEATHS} workers died training it, on {', '.join(task.hosts)} (out of memory?); "
                f"to try again, delete {task.finished.parent}"
            )
            partial = own_temporary(task.finished)
            Failure(task.job.fingerprint, reason, reached, task.job.plan.network).write(partial)
            move_whole(partial, task.finished)
            task.result.set_result(None)

    def _stop_all(self) -> None:
        """Let the trainings save and return; what has not begun never will."""
        while self._waiting:
            self._waiting.popleft().result.set_result(None)
        running = [task.address for task in self._tasks.values() if task.remote is not None]
        if running:
            self._client.run(worker.stop, self._run, workers=running, on_error="ignore")

    # in threads of Dask's client

    def _hear(self, event: tuple[float, Any]) -> None:
        """Note what a worker of this run says."""
        said = event[1]
        if said.get("run") != self._run:
            return
        if "reached" in said:
            self._reached[said["cell"]] = said["reached"]
        if "warning" in said:
            print(f"warning: {said['host']}: {said['warning']}", file=sys.stderr, flush=True)

    # before the thread

    def _wait_for_workers(self) -> None:
        """Until one is accepted, and those that answer right after it, so that the first lines name all."""
        said, end = False, float("inf")
        while time.monotonic() < end:
            self._see_workers()
            undecided = [proof for proof in self._proofs.values() if proof is not None]
            if self._accepted:
                end = min(end, time.monotonic() + 1.0) if undecided else 0.0
            elif self._refused and not undecided:
                why = next(iter(self._refused.values()))
                raise InputError(
                    self.address, f"refused all workers: {why}", "start `longtail workers` again there"
                )
            elif not said and not self._proofs:
                said, start = True, f"start `longtail workers {self.address}` on each machine"
                console.say(self.stage, f"{self.address} has no worker yet; {start}")
            time.sleep(0.05)
