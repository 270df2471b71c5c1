"""A small repository in which DVC runs `prepare` on somebody's own images."""

import os
import subprocess
import sys
from pathlib import Path

from tests.support.stage_runs import environment

PIPELINE = """
stages:
  prepare:
    cmd: {python} -m stages.prepare --benchmark own
    params: [images, own.test_share]
    outs: [data/own/pool.parquet, data/own/images.npy]
"""
PARAMS = "lambda: 0.3\nimbalances: {own: [1]}\nseeds: [1]\nown: {image_size: 8, test_share: 0.2}\n"


class SmallRepository:
    """A git repository with DVC's files, `params.yaml` with `images`, and a dvc.yaml."""

    def __init__(self, path: Path, images: str) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        self.env = environment(
            PATH=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            HOME=str(path.parent),
            NO_COLOR="1",
            GIT_AUTHOR_NAME="n",
            GIT_AUTHOR_EMAIL="e",
            GIT_COMMITTER_NAME="n",
            GIT_COMMITTER_EMAIL="e",
        )
        (path / "params.yaml").write_text(f"{PARAMS}images: {images}\n")
        (path / "dvc.yaml").write_text(PIPELINE.format(python=sys.executable))
        (path / ".gitignore").write_text("/data/\n/photos/\n")
        self.run("git", "init", "--quiet")
        self.dvc("init", "--quiet")
        self.commit()

    def run(self, *words: str, fails: bool = False) -> str:
        """What a command prints, within a minute; `fails` says whether it must."""
        done = subprocess.run(
            words,
            cwd=self.path,
            env=self.env,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=120,
        )
        assert (done.returncode != 0) is fails, done.stdout[-6000:]
        return done.stdout

    def dvc(self, *words: str, fails: bool = False) -> str:
        """What a DVC command prints."""
        return self.run(sys.executable, "-m", "dvc", *words, fails=fails)

    def commit(self) -> None:
        """Commit all that git does not ignore."""
        self.run("git", "add", "--all")
        self.run("git", "commit", "--quiet", "--message", "state", "--allow-empty")
