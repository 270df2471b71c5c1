"""`make` in a folder that was unpacked, not cloned."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.stage_runs import ROOT, environment


@pytest.fixture
def unpacked(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    shutil.copy(ROOT / "Makefile", folder)
    (folder / ".gitignore").touch()
    return folder


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    env = environment(GIT_CEILING_DIRECTORIES=str(folder.parent), HOME=str(folder))
    return subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True, check=False)


def test_repro_without_git_says_what_dvc_needs_before_anything_is_installed(unpacked: Path) -> None:
    done = run(unpacked, "make", "repro")
    assert done.returncode == 2
    said, of_make = done.stderr.splitlines()
    assert said.startswith(
        f"error: {unpacked}: not a git repository, and DVC needs one; clone the project, or "
    )
    assert re.match(r"make(\[1\])?: \*\*\* ", of_make)  # [1] below `make test`
    assert {path.name for path in unpacked.iterdir()} == {"Makefile", ".gitignore"}
    remedy = said.split("'")[1].replace("git commit", "git -c user.name=n -c user.email=e commit")
    assert run(unpacked, "sh", "-c", remedy).returncode == 0
    assert run(unpacked, "make", "clone").returncode == 0
