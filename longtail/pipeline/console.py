"""Output of stages and commands: announcement, progress, result, one-line errors."""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from longtail.errors import InputError, MachineError

if TYPE_CHECKING:
    from typer import Typer

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""Error numbers of a full or failing disk."""


VARIABLES = ("LONGTAIL_AHEAD", "LONGTAIL_CLUSTER", "LONGTAIL_CLUSTER_INSECURE", "LONGTAIL_DETERMINISTIC")
"""Environment variables of this project."""

RANKED = ("python -m stages.represent", "python -m stages.retrain")
"""Programs that torchrun may start."""

EPILOG = "--debug, anywhere on the line, shows the traceback of an error."
"""The last line of every --help."""


class Stopped(BaseException):
    """A signal asked the stage to stop; `where` says how far it is."""

    def __init__(self, number: int, where: str = "") -> None:
        super().__init__(number, where)
        self.number, self.where = number, where


def under_torchrun() -> bool:
    """Whether torchrun started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def counted(number: int, noun: str) -> str:
    """`1 cell`, `2 cells`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _stop(number: int, frame: object) -> None:
    raise Stopped(number)


def run(main: Callable[..., None], program: str | None = None) -> None:
    """`execute` one function as a command called `program`; None: `python -m` and its module."""
    import typer

    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command(epilog=EPILOG)(main)
    name = getattr(sys.modules["__main__"].__spec__, "name", main.__module__)
    execute(app, program or f"python -m {name}")


def execute(app: Typer, program: str) -> None:
    """Run a typer application, and exit with its code.

    An `InputError`, a wrong command line, or an unreadable file becomes one line on stderr and exit code 2; a
    full disk or a killed worker one line and exit code 3; Ctrl-C and SIGTERM one line and 130 or 143.
    `--debug` anywhere on the command line shows the traceback instead.
    """
    import typer

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a class name may not fit the terminal's encoding
    debug = "--debug" in sys.argv[1:]
    arguments = [word for word in sys.argv[1:] if word != "--debug"]
    # click's UsageError, or that of typer's copy of click
    usage: type[Exception] = typer.BadParameter.__mro__[1]
    before = {number: signal.signal(number, _stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        _check_variables()
        if under_torchrun() and program not in RANKED:
            raise InputError("torchrun", f"`{program}` runs in one process", "start it without torchrun")
        code = app(args=arguments, prog_name=program, standalone_mode=False)
    except Stopped as stopped:
        where = (
            f"at {stopped.where}; re-run the same command to resume" if stopped.where else "before its end"
        )
        print(f"stopped: by {signal.Signals(stopped.number).name} {where}", file=sys.stderr)
        raise SystemExit(128 + stopped.number) from None
    except (InputError, MachineError, OSError, usage) as error:
        if debug:
            raise
        if (
            under_torchrun()
            and os.environ["RANK"] != "0"
            and (program not in RANKED or isinstance(error, usage))
        ):
            # rank 0 says it, if it is not ended first, as torchrun does once a rank fails
            raise SystemExit(0) from None
        if isinstance(error, BrokenPipeError):  # the reader of our output is gone: `... | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise SystemExit(1) from None
        print(f"error: {_message(error)}", file=sys.stderr)
        machine = isinstance(error, MachineError) or (isinstance(error, OSError) and error.errno in FULL)
        raise SystemExit(3 if machine else 2) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    raise SystemExit(code or 0)


def _check_variables() -> None:
    """Raise InputError for an environment variable that looks like ours and is none."""
    for name in os.environ:
        if name.startswith("LONGTAIL_") and name not in VARIABLES:
            raise InputError(name, "no such environment variable", f"valid: {', '.join(VARIABLES)}")


def _message(error: Exception) -> str:
    """The line for an error."""
    if isinstance(error, InputError | MachineError):
        return str(error)
    if isinstance(error, OSError):
        if error.errno in FULL:
            return f"{error}; fix that and re-run the same command to resume"
        where = f"{error.filename}: " if error.filename is not None else ""
        return (
            f"{where}{error.strerror or error}; see that it may be read and written, and that there is space"
        )
    text = " ".join(error.format_message().split()).replace("Value error, ", "")  # type: ignore[attr-defined]
    return f"{text.removesuffix('.')}; --help lists what is valid"


def say(stage: str, text: str) -> None:
    """Print one line of a stage."""
    print(f"{stage:<12} {text}", flush=True)


def done(stage: str, text: str) -> None:
    """Print the closing line of a stage."""
    say(stage, f"done: {text}")


def duration(seconds: float) -> str:
    """`12 s`, `3.4 min`, `8.0 h`."""
    if seconds < 6000:
        return f"{seconds:.0f} s" if seconds < 60 else f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h"


WORTH_SAYING = 1.0
"""Seconds; shorter work gets no line with its expected duration."""


FIRST_LINE = 30.0
"""Seconds until the first line in a log file, whatever is known by then."""


class Progress:
    """Progress of a long piece of work: a bar on a terminal, elsewhere a plain line now and then.

    A line in a log file follows after 10 seconds at first, then after ever longer times, up to a tenth of the
    time left.
    """

    def __init__(self, stage: str, total: int, unit: str) -> None:
        self.stage, self.total, self.unit = stage, total, unit
        self.first = 0
        self.begun = time.monotonic()
        self.start = self.next_line = 0.0
        self.expected = False
        self.bar = self._bar() if sys.stdout.isatty() and os.environ.get("TERM") != "dumb" else None

    def _bar(self) -> Any:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
        from rich.progress import Progress as RichProgress

        bar = RichProgress(
            TextColumn(f"{self.stage:<12}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(self.unit + "{task.fields[left]}"),
            transient=True,
        )
        self.task = bar.add_task("", total=self.total, left="")
        bar.start()
        return bar

    def reach(self, finished: int, left: float | None = None) -> None:
        """Report `finished` units; the rest takes `left` seconds, None: as long per unit as those before."""
        now = time.monotonic()
        if finished and not self.first:
            self.first, self.start = finished, now  # the time before was mostly the start of the workers
        each = f", {1e3 * self._mean(now, finished):.1f} ms each" if left is None else ""
        late = now - self.begun >= FIRST_LINE
        enough = finished > self.first if late else finished - self.first >= self.total / 25
        known = finished > 0 and (left is not None or enough)
        left = self._mean(now, finished) * (self.total - finished) if left is None else left
        if known and not self.expected:
            self.expected = True
            if now - self.start + left >= WORTH_SAYING:
                self.line(f"expected: {duration(now - self.start + left)}{each}")
            self.next_line = now + 10
        elif late and not known and self.bar is None and not self.next_line:
            self.line(f"{finished}/{self.total} {self.unit} after {duration(now - self.begun)}")
            self.next_line = now
        if self.bar is not None:
            about = f" · about {duration(left)} left" if self.expected else ""
            self.bar.update(self.task, completed=finished, left=about)
        elif self.expected and now >= self.next_line and finished < self.total:
            self.line(f"{finished}/{self.total} {self.unit}, about {duration(left)} left")
            self.next_line = now + max(10.0, min(left / 10, now - self.begun))

    def _mean(self, now: float, finished: int) -> float:
        """Seconds per unit since the first."""
        return (now - self.start) / max(finished - self.first, 1)

    def line(self, text: str) -> None:
        """Print one line of the stage, above the bar."""
        if self.bar is not None:
            self.bar.console.print(f"{self.stage:<12} {text}", highlight=False)
        else:
            say(self.stage, text)

    def close(self) -> None:
        """Remove the bar."""
        if self.bar is not None:
            self.bar.stop()


@contextmanager
def progress(stage: str, total: int, unit: str) -> Iterator[Progress]:
    """A `Progress` of `total` units within the block."""
    shown = Progress(stage, total, unit)
    try:
        yield shown
    finally:
        shown.close()
