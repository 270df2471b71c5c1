"""Every stage on every kind of bad input: one line that names the file, exit code 2, nothing changed.

`bad_inputs.py` has the table.
"""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from longtail.errors import InputError
from longtail.pipeline import paths
from tests.support import bad_inputs as bad
from tests.support import own_folders
from tests.support import report_fixtures as fixtures
from tests.support.damages import ANY_FILE, Damage
from tests.support.stage_runs import ROOT, enter, run_stage

# MLflow and sqlalchemy deprecate each other
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

PARAMS = (
    "lambda: 0.3\nimbalances: {digits-lt: [50], own: [1]}\nseeds: [1]\nschedule: {fraction: 0.02}\n"
    "images: {own: photos, cifar100-lt: cifar}\nmeta_per_class: 2\n"
)
REPORTING = ("evaluate", "tabulate", "plot", "page", "track")
LONGEST = 600
"""Characters of a line, beside those of the folder."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data sets of the digits and of some photographs, and one trained cell."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "params.yaml").write_text(PARAMS)
    own_folders.build(folder / "photos", {"common": 6, "middle": 5, "rare": 5})
    shutil.copyfile(ROOT / "dvc.yaml", folder / "dvc.yaml")
    for command in ("plan", "prepare", "subsample 50", "extract_meta 50", bad.REPRESENT):
        ran = run_stage(folder, *command.split())
        assert ran.code == 0, ran.stderr
    shutil.rmtree(folder / "work")  # where it is, a finished cell is taken from there
    read = {file for _, files in bad.READ for file in (*files, bad.FOCAL)}
    for path in (folder / bad.PLAN).parent.iterdir():  # every test copies all files
        if str(path.relative_to(folder)) not in read:
            path.unlink()
    return folder


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two evaluated cells, with tables and figures that say nothing."""
    folder = tmp_path_factory.mktemp("evaluated")
    chosen = fixtures.params(imbalances=(50,), seeds=(1,))
    fixtures.evaluate(folder, fixtures.build(folder, chosen, ("cross_entropy", "difficulty_net")))
    names = [f"table{number}.{ending}" for number in range(1, 6) for ending in ("md", "csv")]
    names += [f"figure{number}.{ending}" for number in range(1, 5) for ending in ("svg", "png", "csv")]
    for name in [*names, "index.html", "claims.md", "claims.csv", "metrics.json", "curves.csv"]:
        text = "<svg></svg>" if name.endswith("svg") else "{}"
        (folder / paths.report(fixtures.BENCHMARK, name)).write_text(text)
    return folder


def tree(folder: Path) -> dict[str, bytes | str]:
    """Every file and link below, by path; a lock that stands empty says nothing."""
    return {
        str(path.relative_to(folder)): str(path.readlink()) if path.is_symlink() else path.read_bytes()
        for path in folder.rglob("*")
        if (path.is_file() or path.is_symlink()) and path.name != "track.lock"
    }


@pytest.fixture
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A copy of what the command of the test reads."""
    words = request.node.callspec.params["command"].split()
    whole = request.getfixturevalue("evaluated" if words[0] in REPORTING else "trained")
    copy = tmp_path / "copy"
    shutil.copytree(whole, copy)
    yield copy
    shutil.rmtree(copy)


def refusal(folder: Path, command: str) -> str:
    """What a stage says on stderr of the input that is bad; it must leave everything as it is."""
    before = tree(folder)
    ran = run_stage(folder, *command.split())
    assert (ran.code, ran.stderr.count("\n")) == (2, 1), ran.stderr
    assert ran.stderr.startswith("error: ")
    assert len(ran.stderr.replace(str(folder), "")) < LONGEST
    assert ";" in ran.stderr or "give" in ran.stderr or "(" in ran.stderr, "no remedy"
    assert tree(folder) == before
    return ran.stderr


EVERY_FILE = [
    pytest.param(command, file, kind, id=f"{command.split()[0]}-{Path(file).name}-{kind}")
    for command, file, kind in bad.tried()
]


@pytest.mark.parametrize(("command", "file", "kind"), EVERY_FILE)
def test_a_damaged_file_is_named(folder: Path, command: str, file: str, kind: str) -> None:
    ANY_FILE[kind](folder / file)
    assert Path(file).name in refusal(folder, command)


@pytest.mark.parametrize(
    ("command", "damage", "words"),
    [pytest.param(*case, id=f"{case[0].split()[0]}-{number}") for number, case in enumerate(bad.CASES)],
)
def test_what_is_wrong_is_said(folder: Path, command: str, damage: Damage, words: tuple[str, ...]) -> None:
    damage(folder)
    said = refusal(folder, command)
    assert [word for word in words if word not in said] == [], said


@pytest.mark.parametrize(("command", "file"), [(command, files[0]) for command, files in bad.READ])
def test_debug_shows_the_traceback(
    folder: Path, monkeypatch: pytest.MonkeyPatch, command: str, file: str
) -> None:
    (folder / file).unlink()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", sys.argv)
    with pytest.raises(InputError):
        enter(*command.split(), "--debug")


@pytest.mark.parametrize("command", ["plan", bad.EVALUATE, bad.PREDICT])
def test_sound_input_is_not_refused(folder: Path, command: str) -> None:
    """What the others see is the damage."""
    assert run_stage(folder, *command.split()).code == 0
