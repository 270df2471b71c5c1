"""All paths, relative to the folder of dvc.yaml; below data/, models/ and reports/ comes the benchmark."""

from contextlib import AbstractContextManager, chdir
from pathlib import Path

from longtail.config.repository import repository
from longtail.errors import InputError


def within(folder: Path) -> AbstractContextManager[None]:
    """Make `folder` the working folder within the block. Raises InputError."""
    if not folder.is_dir():
        raise InputError(folder, "no such folder", "give one that holds data/, models/ and reports/")
    return chdir(folder)


def imbalance_name(imbalance: float) -> str:
    """`imb50`: the folder name of an imbalance."""
    return f"imb{imbalance:g}"


def _stage(bundle: str) -> str:
    from longtail.planning.plans import HEADS  # here: it imports pydantic, and `--help` must not

    return "retrain" if bundle.endswith(HEADS) else "represent"


def pool(benchmark: str) -> Path:
    """Every image of the benchmark, as a table."""
    return Path("data") / benchmark / "pool.parquet"


def images(benchmark: str) -> Path:
    """The decoded images, uint8 [N, H, W, channels]."""
    return Path("data") / benchmark / "images.npy"


def train_manifest(benchmark: str, imbalance: float) -> Path:
    """The long-tailed training images."""
    return Path("data") / benchmark / imbalance_name(imbalance) / "train.parquet"


def meta_manifest(benchmark: str, imbalance: float) -> Path:
    """The balanced meta set."""
    return Path("data") / benchmark / imbalance_name(imbalance) / "meta.parquet"


def plan(benchmark: str, imbalance: float, bundle: str) -> Path:
    """Everything that decides the cells of one bundle."""
    return stage_plan(benchmark, imbalance, _stage(bundle)).parent / f"{bundle}.json"


def stage_plan(benchmark: str, imbalance: float, stage: str) -> Path:
    """The bundles that `represent` or `retrain` trains at one imbalance; their plans are beside it."""
    return Path("data") / benchmark / "plan" / imbalance_name(imbalance) / stage / "bundles.json"


def evaluation_plan(benchmark: str, imbalance: float) -> Path:
    """What decides the evaluations at one imbalance: cells, shot groups, and code."""
    return Path("data") / benchmark / "plan" / imbalance_name(imbalance) / "evaluation.json"


def tables_plan(benchmark: str) -> Path:
    """The cells that tables and figures are made of."""
    return Path("data") / benchmark / "plan" / "tables.json"


def stage_models(benchmark: str, imbalance: float, stage: str) -> Path:
    """The bundles that `represent` or `retrain` trained at one imbalance."""
    from longtail.planning.plans import HEADS  # here: it imports pydantic, and `--help` must not

    ending = HEADS if stage == "retrain" else ""
    return Path("models") / benchmark / f"{imbalance_name(imbalance)}{ending}"


def bundle_models(benchmark: str, imbalance: float, bundle: str) -> Path:
    """The trained cells of one bundle."""
    return stage_models(benchmark, imbalance, _stage(bundle)) / bundle


def model(benchmark: str, imbalance: float, bundle: str, member: str) -> Path:
    """The folder of one trained cell."""
    return bundle_models(benchmark, imbalance, bundle) / member


def cell_report(benchmark: str, imbalance: float, bundle: str, member: str) -> Path:
    """The report of one cell."""
    return Path("reports") / benchmark / "cells" / imbalance_name(imbalance) / bundle / f"{member}.json"


def report(benchmark: str, name: str) -> Path:
    """A table or figure, by file name."""
    return Path("reports") / benchmark / name


def check_repository() -> None:
    """Raise InputError unless `repository` is one, for commands that write into it."""
    if not (repository() / "params.yaml").is_file():
        raise InputError(repository(), "no params.yaml here", "run this in a clone of the repository")


def work() -> Path:
    """Checkpoints and finished cells, by fingerprint; shared by all experiments of the repository."""
    return repository() / "work"


def downloads() -> Path:
    """What was fetched because params.yaml asks for it."""
    return repository() / "downloads"


def finished(fingerprint: str) -> Path:
    """A finished training, under no cell's name."""
    return work() / fingerprint / "finished"


def checkpoint(fingerprint: str) -> Path:
    """The checkpoint of an unfinished training."""
    return work() / fingerprint / "checkpoint.pt"


def tracking_root() -> Path:
    """MLflow's database and artifacts."""
    return repository() / "mlruns"
