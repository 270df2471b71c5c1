"""What DVC would run after a change, by `dvc.yaml` and plan files: as `dvc status` says it, without DVC."""

import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Stage:
    """What a stage reads, in files and parameters, and what it writes."""

    deps: list[str]
    params: list[str]
    outs: list[str]


def looked_up(text: str, params: dict[str, Any], defined: dict[str, Any]) -> Any:
    """The value of a `${...}`: of `vars`, or of params.yaml by a path with dots."""
    found: Any = {**params, **defined}
    for key in text.removeprefix("${").removesuffix("}").split("."):
        found = found[key]
    return found


def filled(paths: list[str], item: dict[str, str]) -> list[str]:
    """`paths` with the values of a matrix in their places."""
    for place, value in item.items():
        paths = [path.replace(place, value) for path in paths]
    return paths


def expand(pipeline: dict[str, Any], params: dict[str, Any]) -> dict[str, Stage]:
    """The stages of a `dvc.yaml` by name, each of a matrix by itself."""
    defined = {key: value for part in pipeline.get("vars", []) for key, value in part.items()}
    stages: dict[str, Stage] = {}
    for name, stage in pipeline["stages"].items():
        axes = {key: looked_up(text, params, defined) for key, text in stage.get("matrix", {}).items()}
        for chosen in itertools.product(*axes.values()):
            item = {f"${{item.{key}}}": str(value) for key, value in zip(axes, chosen, strict=True)}
            full = f"{name}@{'-'.join(item.values())}" if item else name
            named = [key for key in stage.get("params", []) if isinstance(key, str)]
            made = [*stage.get("outs", []), *stage.get("metrics", [])]
            outs = [out if isinstance(out, str) else next(iter(out)) for out in made]
            stages[full] = Stage(filled(stage["deps"], item), named, filled(outs, item))
    return stages


def overlap(one: str, other: str) -> bool:
    """Whether two paths are the same or one holds the other."""
    return f"{one}/".startswith(f"{other}/") or f"{other}/".startswith(f"{one}/")


def contents(path: Path) -> dict[str, bytes]:
    """What a file, or the files below a folder hold; nothing where there is none."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return {str(file.relative_to(path)): file.read_bytes() for file in files}


def touched(before: Path, after: Path, pipeline: dict[str, Any], params: tuple[Any, Any]) -> set[str]:
    """What a change of `params`, from old to new, re-runs after `plan`, whose files lie in the folders."""

    def differ(path: str) -> bool:
        old, new = (contents(folder / path) for folder in (before, after))
        return old != new

    old, new = params
    known, stages = expand(pipeline, old), expand(pipeline, new)
    del stages["plan"]
    found = {
        name
        for name, stage in stages.items()
        if name not in known
        or any(old.get(key) != new.get(key) for key in stage.params)
        or any(differ(path) for path in stage.deps if "/plan/" in path)
    }
    grown = True
    while grown:
        made = [out for name in found for out in stages[name].outs]
        after_them = {
            name
            for name, stage in stages.items()
            if any(overlap(path, out) for path in stage.deps for out in made)
        }
        grown = not after_them <= found
        found |= after_them
    return found
