"""What a person sees of a stage: one line for an error, plain lines where there is no terminal."""

import errno
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import pytest
import typer

from longtail.errors import InputError, MachineError
from longtail.pipeline import console
from tests.support.stage_runs import ROOT


def run(monkeypatch: pytest.MonkeyPatch, command, *words: str) -> int:
    """The exit code of a command line."""
    monkeypatch.setattr(sys, "argv", ["stage", *words])
    with pytest.raises(SystemExit) as caught:
        console.run(command)
    return int(caught.value.code or 0)


def wrong(path: str = "params.yaml") -> None:
    """Fails as a person's mistake does."""
    raise InputError(path, "lambda -1", "give 0 or more")


def give_way() -> None:
    """Fails as a machine does."""
    raise MachineError("a worker was killed")


def fill_up() -> None:
    """Fails as a full disk does."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "work/checkpoint.pt")


def lose() -> None:
    """Fails as a defect does that has to do with files."""
    Path("no/such/file").read_text(encoding="utf-8")


def broken() -> None:
    """Fails as a defect does."""
    raise ZeroDivisionError("a defect")


def test_an_input_error_is_one_line_on_stderr_and_exit_code_2(monkeypatch, capsys) -> None:
    assert run(monkeypatch, wrong) == 2
    assert capsys.readouterr() == ("", "error: params.yaml: lambda -1; give 0 or more\n")


@pytest.mark.parametrize(
    ("command", "told"), [(give_way, "a worker was killed"), (fill_up, "No space left on device: 'work")]
)
def test_what_the_machine_fails_in_is_one_line_on_stderr_and_exit_code_3(
    monkeypatch, capsys, command, told: str
) -> None:
    assert run(monkeypatch, command) == 3
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("error: ")
    assert told in err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_is_one_line_on_stderr_and_its_usual_exit_code(
    monkeypatch, capsys, number: int, code: int
) -> None:
    before = signal.getsignal(number)
    assert run(monkeypatch, lambda: os.kill(os.getpid(), number)) == code
    assert capsys.readouterr() == ("", f"stopped: by {signal.Signals(number).name} before its end\n")
    assert signal.getsignal(number) is before


def test_success_is_exit_code_0(monkeypatch, capsys) -> None:
    def fine(path: Annotated[str, typer.Option()] = "here") -> None:
        console.say("fine", path)

    assert run(monkeypatch, fine, "--path", "there") == 0
    assert capsys.readouterr() == ("fine         there\n", "")


@pytest.mark.parametrize("words", [("--debug",), ("--debug", "--path", "x"), ("--path", "x", "--debug")])
def test_debug_anywhere_on_the_line_shows_the_traceback(monkeypatch, words: tuple[str, ...]) -> None:
    def failing(path: Annotated[str, typer.Option()] = "x") -> None:
        wrong(path)

    monkeypatch.setattr(sys, "argv", ["stage", *words])
    with pytest.raises(InputError, match="x: lambda -1"):
        console.run(failing)


@pytest.mark.parametrize("words", [(), ("--debug",)])
def test_a_defect_is_never_hidden(monkeypatch, words: tuple[str, ...]) -> None:
    monkeypatch.setattr(sys, "argv", ["stage", *words])
    with pytest.raises(ZeroDivisionError):
        console.run(broken)


def test_a_file_that_the_system_will_not_give_is_one_line_and_with_debug_a_traceback(
    monkeypatch, capsys
) -> None:
    assert run(monkeypatch, lose) == 2
    assert capsys.readouterr().err.count("\n") == 1
    monkeypatch.setattr(sys, "argv", ["stage", "--debug"])
    with pytest.raises(FileNotFoundError):
        console.run(lose)


def test_an_unknown_option_is_exit_code_2_without_a_traceback(monkeypatch, capsys) -> None:
    assert run(monkeypatch, wrong, "--unknown") == 2
    assert "Traceback" not in capsys.readouterr().err


def test_a_real_stage_says_it_in_one_line_and_with_debug_in_full(tmp_path: Path) -> None:
    def plan(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "stages.plan", *words]
        environment = {"PYTHONPATH": str(ROOT), "PATH": "", "PYTHONDONTWRITEBYTECODE": "1"}
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )

    (tmp_path / "params.yaml").write_text("lambda: -1\nimbalances: {digits-lt: [50]}\nseeds: [1]\n")
    ran = plan()
    assert (ran.returncode, ran.stdout) == (2, "")
    assert re.fullmatch(r"error: params\.yaml: lambda: found -1; .*\n", ran.stderr)
    ran = plan("--debug")
    assert ran.returncode != 0
    assert "Traceback" in ran.stderr
    assert list(tmp_path.iterdir()) == [tmp_path / "params.yaml"]


def test_progress_off_a_terminal_is_plain_lines_that_grow_rare(monkeypatch, capsys) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with console.progress("represent", 1000, "iterations") as shown:
        for finished in range(1001):
            now[0] = 0.1 * finished
            shown.reach(finished)
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert err == ""
    assert 2 <= len(lines) <= 12
    assert lines[0] == "represent    expected: 1.7 min, 100.0 ms each"
    assert all(
        re.fullmatch(r"represent    \d+/1000 iterations, about \S+ (min|s) left", line) for line in lines[1:]
    )
    assert "\r" not in out
    assert "\x1b" not in out


def test_who_knows_better_than_the_mean_says_how_long_the_rest_takes(monkeypatch, capsys) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with console.progress("reproduce", 1000, "iterations") as shown:
        for finished in range(101):
            now[0] = 0.25 * finished
            shown.reach(finished, 3600.0 - now[0] if finished > 10 else None)
    lines = [line.partition(" ")[2].strip() for line in capsys.readouterr().out.splitlines()]
    assert lines == ["expected: 60.0 min", "51/1000 iterations, about 59.8 min left"]


def test_a_log_of_a_long_training_says_within_a_minute_what_is_expected(monkeypatch, capsys) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with console.progress("reproduce", 28_800, "iterations") as shown:  # eight hours
        for second in range(61):
            now[0] = float(second)
            shown.reach(max(0, second - 5))
        lines = [line.partition(" ")[2].strip() for line in capsys.readouterr().out.splitlines()]
        assert lines == ["expected: 8.0 h, 1000.0 ms each", "35/28800 iterations, about 8.0 h left"]
        for second in range(61, 28_801):
            now[0] = float(second)
            shown.reach(max(0, second - 5))
    assert len(capsys.readouterr().out.splitlines()) < 80


def test_a_log_says_within_a_minute_that_nothing_was_done_yet(monkeypatch, capsys) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with console.progress("reproduce", 1000, "iterations") as shown:
        for second in range(61):
            now[0] = float(second)
            shown.reach(0)
    assert capsys.readouterr().out == "reproduce    0/1000 iterations after 30 s\n"


def test_what_is_over_at_once_gets_no_line(monkeypatch, capsys) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with console.progress("evaluate", 90, "cells") as shown:
        for finished in range(1, 91):
            now[0] = 0.01 * finished
            shown.reach(finished)
    assert capsys.readouterr().out == ""


def test_on_a_terminal_there_is_a_bar_and_it_goes_away_on_an_error(monkeypatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    shown: list[console.Progress] = []

    def work() -> None:
        with console.progress("represent", 10, "iterations") as bar:
            shown.append(bar)
            bar.reach(4)
            assert bar.bar is not None
            assert bar.bar.tasks[0].completed == 4
            assert bar.bar.live.is_started
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    assert shown[0].bar is not None
    assert not shown[0].bar.live.is_started


def test_a_closing_line_names_the_stage(capsys) -> None:
    console.done("plan", "3 cells")
    assert capsys.readouterr().out == "plan         done: 3 cells\n"


def test_a_mistyped_environment_variable_is_named(monkeypatch, capsys) -> None:
    monkeypatch.setenv("LONGTAIL_DETERMINISM", "1")
    assert run(monkeypatch, lambda: None) == 2
    assert capsys.readouterr().err == (
        "error: LONGTAIL_DETERMINISM: no such environment variable; "
        "valid: LONGTAIL_AHEAD, LONGTAIL_CLUSTER, LONGTAIL_CLUSTER_INSECURE, LONGTAIL_DETERMINISTIC\n"
    )


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_text_that_the_terminal_cannot_show_is_replaced(encoding: str) -> None:
    script = (
        "from longtail.pipeline import console\n"
        "def main() -> None:\n    console.say('predict', 'class \\u732b \\U0001f431')\n"
        "console.run(main, 'x')"
    )
    found = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={**os.environ, "PYTHONIOENCODING": encoding},
        capture_output=True,
        text=True,
    )
    assert (found.returncode, found.stdout) == (0, "predict      class ? ?\n"), found.stderr
