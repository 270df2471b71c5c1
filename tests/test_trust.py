"""What is loaded cannot run, what is served stays on this machine, and nothing calls out by itself."""

import ast
import io
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from longtail.commands import ui
from longtail.data.sources.original import unpickled
from longtail.pipeline import tracking
from tests.support import report_fixtures as fixtures
from tests.support import trained_cells
from tests.support.stage_runs import ROOT

# MLflow and sqlalchemy deprecate each other
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

SOURCES = sorted(
    path for part in ("longtail", "stages", "benchmarks") for path in (ROOT / part).rglob("*.py")
)
PICKLES = {"longtail/data/sources/original.py"}
"""Behind a checksum: `test_a_pickle_that_would_run_something_is_refused`, tests/data/test_sources.py."""


def dangers(code: str) -> list[str]:
    """What in a module could run what a file says, or takes weights in another form than numbers."""
    found = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = getattr(node, "module", None)
            names = [module] if module else [alias.name for alias in node.names]
            found += [
                f"import {name}"
                for name in names
                if name.split(".")[0] in ("pickle", "cPickle", "dill", "joblib", "shelve", "marshal")
            ]
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        words = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        if name == "torch.load" and words.get("weights_only") != "True":
            found.append("torch.load without weights_only=True")
        if name in ("np.load", "numpy.load") and words.get("allow_pickle") != "False":
            found.append("np.load without allow_pickle=False")
        if name in ("pd.read_pickle", "pandas.read_pickle", "eval", "exec", "os.system"):
            found.append(name)
        if name in ("yaml.unsafe_load", "yaml.full_load", "yaml.load_all"):
            found.append(name)
        if name == "yaml.load" and ast.unparse(node.args[1]) != "yaml.SafeLoader":
            found.append("yaml.load with an unsafe loader")
        if name == "YAML" and [ast.unparse(word) for word in node.keywords] != ["typ='safe'"]:
            found.append("YAML of another type than safe")
        if words.get("shell") == "True":
            found.append(f"{name} with shell=True")
    return found


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from pickle import load",
        "import joblib.externals",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "yaml.load(text, yaml.Loader)",
        "yaml.unsafe_load(text)",
        "YAML().load(text)",
        "YAML(typ='unsafe').load(text)",
        "subprocess.run(words, shell=True)",
        "eval(text)",
    ],
)
def test_what_is_looked_for_is_found(code: str) -> None:
    assert len(dangers(code)) == 1


def test_nothing_that_is_loaded_can_run() -> None:
    found = {str(path.relative_to(ROOT)): dangers(path.read_text(encoding="utf-8")) for path in SOURCES}
    assert len(found) > 90
    assert {name for name, dangerous in found.items() if dangerous} == PICKLES


class Payload:
    """Runs a command where it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        """What pickle calls."""
        return os.system, ("touch pwned",)


def test_a_pickle_that_would_run_something_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even behind the published checksum nothing but numbers, text and arrays is made."""
    monkeypatch.chdir(tmp_path)
    content = io.BytesIO()
    pickle.dump({"data": Payload()}, content)
    with pytest.raises(pickle.UnpicklingError, match="is not part of an array"):
        unpickled(content.getvalue())
    assert not (tmp_path / "pwned").exists()
    pickle.loads(content.getvalue())
    assert (tmp_path / "pwned").exists(), "the payload does nothing, so the test says nothing"


def test_the_weights_of_a_trained_cell_are_safetensors_and_nothing_of_it_is_a_pickle(tmp_path: Path) -> None:
    from safetensors import safe_open

    folder = trained_cells.train(tmp_path, "cross_entropy", iterations=2)
    suffixes = {path.name: path.suffix for path in folder.iterdir()}
    assert {name for name, suffix in suffixes.items() if suffix == ".safetensors"} == {
        "weights.safetensors",
        "selected.safetensors",
    }
    assert set(suffixes.values()) == {".safetensors", ".parquet", ".json"}
    for name in ("weights.safetensors", "selected.safetensors"):
        with safe_open(folder / name, "numpy") as file:
            assert len(list(file.keys())) > 5


def test_mlflow_is_served_to_this_machine_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[list[str]] = []
    monkeypatch.setattr("longtail.commands.ui.os.execv", lambda _, words: started.append(words))
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    with tracking.locked(tmp_path / "mlruns"):
        tracking.create_database(tmp_path / "mlruns")
    (tmp_path / "params.yaml").touch()
    ui.main(port=45873)
    (words,) = started
    assert words[words.index("--host") + 1] == "127.0.0.1"
    assert words.count("--host") == 1
    assert "0.0.0.0" not in " ".join(words)
    assert os.environ["DO_NOT_TRACK"] == os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"


def test_dvc_reports_nothing() -> None:
    text = (ROOT / ".dvc" / "config").read_text()
    core = dict(line.strip().split(" = ") for line in text.split("[core]")[1].splitlines() if " = " in line)
    assert (core["analytics"], core["check_update"]) == ("false", "false")


GUARD = """
import runpy, socket, sys
def local(address):
    return not isinstance(address, tuple) or address[0] in ("127.0.0.1", "::1", "localhost")
def guarded(name):
    genuine = getattr(socket.socket, name)
    def call(self, address, *more):
        if not local(address):
            open("calls", "a").write(f"{name} {address}\\n")
            raise OSError("blocked")
        return genuine(self, address, *more)
    setattr(socket.socket, name, call)
guarded("connect")
guarded("connect_ex")
genuine = socket.getaddrinfo
def look_up(host, *more, **words):
    if host not in (None, "127.0.0.1", "localhost", "::1", b"localhost"):
        open("calls", "a").write(f"getaddrinfo {host}\\n")
        raise OSError("blocked")
    return genuine(host, *more, **words)
socket.getaddrinfo = look_up
"""
STAGES = """
for command in sys.argv[1:]:
    stage, *words = command.split()
    sys.argv = [stage, *words]
    try:
        runpy.run_module(f"stages.{stage}", run_name="__main__", alter_sys=True)
    except SystemExit as left:
        if left.code:
            raise
"""


def guarded(folder: Path, code: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Python with a guard on its sockets; what it refuses stands in the file `calls`."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in tracking.QUIET and "_PROXY" not in name
    }
    return subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=folder,
        env={**environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_guard_sees_a_call(tmp_path: Path) -> None:
    code = GUARD + "import urllib.request\nurllib.request.urlopen('http://example.invalid', timeout=1)\n"
    assert guarded(tmp_path, code).returncode != 0
    assert "getaddrinfo example.invalid" in (tmp_path / "calls").read_text()


def test_no_stage_calls_anyone(tmp_path: Path) -> None:
    """From the images to a trained cell, and from predictions to MLflow."""
    params = "lambda: 0.3\nimbalances: {digits-lt: [50]}\nseeds: [1]\nschedule: {fraction: 0.02}\n"
    made, told = tmp_path / "made", tmp_path / "told"
    made.mkdir()
    (made / "params.yaml").write_text(params)
    commands = ("plan", "prepare", "subsample 50", "extract_meta 50", "represent 50 cross_entropy")
    ran = guarded(made, GUARD + STAGES, *commands)
    assert ran.returncode == 0, ran.stderr
    assert "represent    done" in ran.stdout
    plans = fixtures.build(told, fixtures.params((50,), (1,)), ("cross_entropy", "difficulty_net"))
    assert plans
    (told / "reports/digits-lt").mkdir(parents=True)
    for number in range(1, 5):
        for ending in ("svg", "png", "csv"):
            (told / f"reports/digits-lt/figure{number}.{ending}").write_text("<svg></svg>")
    (told / "reports/digits-lt/curves.csv").write_text("curves")
    ran = guarded(told, GUARD + STAGES, "evaluate 50", "tabulate", "page", "track")
    assert ran.returncode == 0, ran.stderr
    assert "track        done" in ran.stdout
    assert not (made / "calls").exists()
    assert not (told / "calls").exists()
