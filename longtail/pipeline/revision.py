"""Which code ran here, as tags of an MLflow run."""

import os
import subprocess


def code_tags() -> dict[str, str]:
    """Which code ran here: the commit and the name of DVC's experiment, where there are such."""

    def git(*words: str) -> str:
        try:
            return subprocess.run(["git", *words], capture_output=True, text=True, check=True).stdout.strip()
        except (OSError, subprocess.CalledProcessError):
            return ""

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
