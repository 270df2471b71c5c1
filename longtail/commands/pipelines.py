"""`longtail pipelines`: the dvc.yaml files under paper/ and own/, made from the one at the root.

Each runs in the repository's folder (`wdir`), so that paths, `params.yaml` and stages are the same. Run it
after a change of dvc.yaml; a test compares the files with its output.
"""

from pathlib import Path
from typing import Annotated, Any

import typer

from longtail.pipeline import console

BENCHMARKS = {
    "cifar100-lt": "paper/cifar100-lt",
    "cifar10-lt": "paper/cifar10-lt",
    "imagenet-lt": "paper/imagenet-lt",
    "places-lt": "paper/places-lt",
    "own": "own",
}
"""The folder of each benchmark's pipeline."""
ROOT = "digits-lt"
SCALES = {
    **dict.fromkeys(("cifar100-lt", "imagenet-lt", "places-lt"), ", at the paper's scale"),
    "cifar10-lt": ", at the scale of CIFAR-100-LT",
    "own": " on your own images",
}
MORE = {"own": ["own.image_size", "own.test_share"], "listed": ["lists"]}
"""Further parameters of the pool, by source."""
HEADER = """\
# {benchmark}: the stages of the root's dvc.yaml{scale}. `longtail pipelines` made this
# from it: change that one. Experiments start in the repository's folder, where params.yaml is:
# `dvc exp run {folder}/dvc.yaml -S ...`; in this one, write `-S {up}/params.yaml:name=value`.

"""


def pipeline(benchmark: str, root: str) -> str:
    """The text of a benchmark's dvc.yaml, made from that of the root's."""
    from longtail.config.benchmarks import find_benchmark
    from longtail.config.layouts import read_layouts
    from longtail.config.yaml_files import parse_yaml, yaml_text

    layouts = read_layouts().of(benchmark)
    chosen = find_benchmark(benchmark)
    up = "/".join([".."] * len(Path(BENCHMARKS[benchmark]).parts))
    made: dict[str, Any] = {"vars": [], **parse_yaml(root.replace(ROOT, benchmark), "dvc.yaml")}
    made["vars"] = [f"{up}/params.yaml"]
    here = {f"table{table.number}" for table in layouts.tables}
    here |= {f"figure{figure.number}" for figure in layouts.figures}
    for name, stage in made["stages"].items():
        stage["cmd"] += f" --benchmark {benchmark}"
        made["stages"][name] = {"wdir": up, **stage}
        for part in {"deps", "outs"} & stage.keys():
            made["stages"][name][part] = [
                path for path in stage[part] if not _shown(path) or Path(path).stem in here
            ]
    prepare = made["stages"]["prepare"]
    prepare["params"].append("images")
    prepare["params"] += MORE.get(chosen.source, [])
    if chosen.source == "listed":  # its images stay files
        prepare["outs"].remove(f"data/{benchmark}/images.npy")
    for plot in made["plots"]:
        for axes in plot.values():
            axes["y"] = {f"{up}/{path}": column for path, column in axes["y"].items()}
    text = yaml_text(made)
    return (
        HEADER.format(benchmark=benchmark, scale=SCALES[benchmark], folder=BENCHMARKS[benchmark], up=up)
        + text
    )


def read_root(path: Path) -> str:
    """The text of the root's pipeline. Raises InputError unless it is one."""
    from longtail.config.yaml_files import read_yaml
    from longtail.errors import InputError

    remedy = f"`git checkout {path}` restores it"
    if not path.is_file():
        raise InputError(path, "no such file", "run from the folder that holds it")
    try:
        found = read_yaml(path)
        whole = all(isinstance(stage["cmd"], str) for stage in found["stages"].values())
        whole &= bool(found["stages"]["prepare"]["params"] and found["plots"])
    except InputError as error:
        raise InputError(path, f"not this repository's pipeline ({error.problem})", remedy) from None
    except (LookupError, TypeError, AttributeError) as error:
        reason = " ".join(f"{type(error).__name__} {error}".split())[:200]
        raise InputError(path, f"not this repository's pipeline ({reason})", remedy) from None
    if not whole:
        raise InputError(path, "stages without a command, or no plots", remedy)
    return path.read_text(encoding="utf-8")


def _shown(path: Any) -> bool:
    return str(path).startswith("reports/") and Path(str(path)).stem.startswith(("table", "figure"))


def main(
    check: Annotated[bool, typer.Option(help="Write nothing; fail where a pipeline differs.")] = False,
) -> None:
    """Write the dvc.yaml files below paper/ and own/."""
    from longtail.errors import InputError
    from longtail.files import write_text

    root = read_root(Path("dvc.yaml"))
    for benchmark, folder in BENCHMARKS.items():
        path = Path(folder) / "dvc.yaml"
        text = pipeline(benchmark, root)
        if not check:
            write_text(path, text)
        elif not path.is_file() or path.read_text(encoding="utf-8") != text:
            raise InputError(path, "not what dvc.yaml makes it", "`longtail pipelines` writes it")
    console.done("pipelines", f"{', '.join(BENCHMARKS)} {'as they should be' if check else 'written'}")
