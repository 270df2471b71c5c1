"""No document names a file, module, command, option, target or variable that is not there."""

import importlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.main import get_command

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted(
    path for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("results/*/README.md")]
)
FOLDERS = ("longtail", "stages", "tests", "benchmarks", "docs", "paper", "own", "results")
GENERATED = ("data/", "models/", "reports/", "work/", "mlruns/", "downloads/", "results/")
PLACEHOLDER = re.compile(r"[<>*…{}]|\.\.\.")


@cache
def sources() -> str:
    """All code that may define a variable of the environment."""
    return (
        "".join(
            path.read_text(encoding="utf-8")
            for room in ("longtail", "stages", "benchmarks")
            for path in sorted((ROOT / room).rglob("*.py"))
        )
        + (ROOT / "Makefile").read_text()
    )


def anchors(text: str) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    kept = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.strip().replace(" ", "-") for heading in kept}


def links(text: str, folder: Path) -> Iterator[str]:
    """Relative links that lead nowhere."""
    for target in re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'src="([^"]+)"', text):
        if re.match(r"[a-z]+:", target):
            continue
        place, _, anchor = target.partition("#")
        path = folder / place if place else None
        if path is not None and not path.exists():
            yield target
        elif anchor:
            there = path.read_text(encoding="utf-8") if path is not None else text
            if anchor not in anchors(there):
                yield target


def code(text: str) -> list[str]:
    """Code in backticks, and each line of code blocks."""
    blocks = re.findall(r"```[a-z]*\n(.*?)```", text, re.DOTALL)
    rest = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    joined = [block.replace("\\\n", " ") for block in blocks]
    return re.findall(r"`([^`\n]+)`", rest) + [line for block in joined for line in block.splitlines()]


def files(pieces: list[str]) -> Iterator[str]:
    """Paths of this repository that are not there."""
    for piece in pieces:
        for word in re.findall(rf"(?<![\w./-])(?:{'|'.join(FOLDERS)})/[\w./*<>{{}}…-]*", piece):
            path = word.rstrip(".:,;")
            if not PLACEHOLDER.search(path) and not path.startswith(GENERATED) and not (ROOT / path).exists():
                yield path


def modules(pieces: list[str]) -> Iterator[str]:
    """Dotted names of ours that cannot be imported."""
    for piece in pieces:
        for name in re.findall(r"(?<![\w./@])(?:longtail|stages|benchmarks)(?:\.\w+)+", piece):
            if not importable(name):
                yield name


@cache
def importable(name: str) -> bool:
    """Whether a dotted name is a module, or an attribute in one."""
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        base = ROOT.joinpath(*parts[:cut])
        if not (base.is_dir() or base.with_suffix(".py").is_file()):
            continue
        found: Any = importlib.import_module(".".join(parts[:cut]))
        for part in parts[cut:]:
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False


@cache
def options(kind: str, name: str) -> frozenset[str] | None:
    """The options of a stage or of `longtail name`; None if there is none of that name."""
    room = {"stages": "stages", "longtail": "longtail.commands"}[kind]
    if not (ROOT / room.replace(".", "/") / f"{name}.py").is_file():
        return None
    app = typer.Typer(add_completion=False)
    app.command()(importlib.import_module(f"{room}.{name}").main)
    command: Any = get_command(app)
    words = [(*parameter.opts, *parameter.secondary_opts) for parameter in command.params]
    return frozenset(word for found in words for word in found)


def commands(pieces: list[str]) -> Iterator[str]:
    """Commands and options of ours that are not there."""
    for piece in pieces:
        for kind, name, rest in re.findall(
            r"(?:^|[\s;&])(?:python -m )?(stages|longtail)[. ]([a-z_]+)([^|;&#]*)", piece
        ):
            if name == "import" or (kind == "stages" and f"stages.{name}" not in piece):
                continue
            known = options(kind, name)
            if known is None:
                if f"python -m stages.{name}" in piece or f"longtail {name}" in piece:
                    yield f"{kind} {name}"
                continue
            for option in re.findall(r"(?<!\S)--[a-z][a-z-]*", rest):
                if option not in {*known, "--help", "--debug"}:
                    yield f"{kind} {name} {option}"
        for target in re.findall(r"(?:^|\s)make ([a-z]+)", piece):
            if not re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE):
                yield f"make {target}"
        for name in re.findall(r"python -m (benchmarks\.\w+)", piece):
            if not importable(name):
                yield name


def variables(text: str) -> Iterator[str]:
    """Variables of the environment that no code reads."""
    for name in re.findall(r"LONGTAIL_[A-Z_]+", text):
        if name not in sources():
            yield name


def parameters(pieces: list[str]) -> Iterator[str]:
    """Keys of `-S key=` that params.yaml cannot have."""
    from longtail.config.params import SECTIONS, UNWRITTEN, Params
    from longtail.config.presets import METHODS

    top = {field.alias or name for name, field in Params.model_fields.items()} - {*UNWRITTEN}
    for piece in pieces:
        for key in re.findall(r"-S '?\+?([\w.]+)(?:\.…|=)", piece):
            section, _, name = key.partition(".")
            if section in METHODS:
                good = not name or name in METHODS[section].keys
            elif section in SECTIONS:
                good = not name or name in SECTIONS[section].model_fields
            else:
                good = section in top
            if not good:
                yield key


def wrong(text: str, folder: Path) -> list[str]:
    """All that a document names and that is not there."""
    pieces = code(text)
    return [
        *links(text, folder),
        *files(pieces),
        *modules(pieces),
        *commands(pieces),
        *variables(text),
        *parameters(pieces),
    ]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_document_names_is_there(path: Path) -> None:
    assert wrong(path.read_text(encoding="utf-8"), path.parent) == []


def test_all_documents_are_read() -> None:
    names = {path.name for path in DOCUMENTS}
    assert {"README.md", "CONTRIBUTING.md", "design.md", "difficulty_net.md"} <= names
    assert len(DOCUMENTS) > 30


@pytest.mark.parametrize(
    "text",
    [
        "[a page](docs/nowhere.md)",
        "[a heading](README.md#nowhere)",
        "`longtail/nowhere.py`",
        "`longtail.meta.nowhere`",
        "`longtail.training.method.Nowhere`",
        "`python -m stages.nowhere`",
        "`longtail nowhere`",
        "```\npython -m stages.represent 50 focal --nowhere\n```",
        "`longtail predict --nowhere`",
        "`make nowhere`",
        "`python -m benchmarks.nowhere`",
        "`LONGTAIL_NOWHERE=1`",
        "`dvc exp run -S nowhere=1`",
        "`-S difficulty_net.nowhere=1`",
    ],
)
def test_what_is_not_there_is_found(text: str) -> None:
    assert wrong(text, ROOT)
