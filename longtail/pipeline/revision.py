"""Revisions: which code ran here, as tags of an MLflow run, and what names of commits there are."""

import os
import subprocess


def git(*words: str) -> str:
    """What git says, without the newline at its end; nothing where it fails."""
    try:
        return subprocess.run(["git", *words], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def revision_names() -> list[str]:
    """Branches, tags and DVC's experiments here, by their short names."""
    names = git("for-each-ref", "--format=%(refname:lstrip=2)", "refs/heads", "refs/tags", "refs/remotes")
    # refs/exps/<two digits of a commit>/<the rest>/<experiment>; what DVC keeps for itself lies less deep
    experiments = git("for-each-ref", "--format=%(refname:lstrip=4)", "refs/exps")
    return ["HEAD", *names.splitlines(), *filter(None, experiments.splitlines())]


def is_revision(name: str) -> bool:
    """Whether git, or DVC as an experiment, knows a commit as `name`."""
    return bool(git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")) or name in revision_names()


def code_tags() -> dict[str, str]:
    """Which code ran here: the commit and the name of DVC's experiment, where there are such."""
    tags = {"mlflow.source.name": "stages/track.py", "mlflow.source.type": "LOCAL"}
    if commit := git("rev-parse", "--verify", "HEAD"):
        # DVC writes its locks while the pipeline runs: they are no change of the code
        changed = git(
            "status", "--porcelain", "--untracked-files=no", "--", ":/", ":(top,exclude,glob)**/dvc.lock"
        )
        tags |= {"commit": commit + ("+dirty" if changed else ""), "mlflow.source.git.commit": commit}
    if experiment := os.environ.get("DVC_EXP_NAME"):
        tags["dvc_experiment"] = experiment
    return tags
