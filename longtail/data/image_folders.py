"""Which files below a folder are images: one rule for `prepare` and `predict`."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from longtail.config.repository import linked_cache, repository
from longtail.data.image_files import SUFFIXES
from longtail.errors import InputError, and_more, shown

SHOWN = 5
"""How many suffixes, and classes of each, a line names."""


@dataclass
class Found:
    """The files below folders, sorted by path.

    `links` are symbolic links to folders, and those that lead out; they are never followed.
    """

    files: list[Path] = field(default_factory=list)
    """The images."""
    links: list[Path] = field(default_factory=list)
    passed: list[Path] = field(default_factory=list)
    """Other files that can be seen."""
    hidden: list[Path] = field(default_factory=list)
    """Files that are hidden: a name or folder begins with a dot."""


def search(folder: Path, root: Path) -> Found:
    """All files below `folder`, which is `root` or inside it. Raises InputError."""
    found = Found()
    for path in sorted(_below(folder)):
        hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
        if hidden and not path.is_dir():
            found.hidden.append(path)
        elif path.is_symlink() and (path.is_dir() or leads_out(path, root)):
            found.links += [] if hidden else [path]
        elif path.suffix.lower() in SUFFIXES:
            found.files.append(path)
        else:
            found.passed.append(path)
    return found


def find_images(given: Sequence[Path]) -> Found:
    """The given files, and the images below the given folders. Raises InputError for a folder without one."""
    found = Found()
    for place in given:
        if not place.is_dir():
            found.files.append(place)
            continue
        inside = search(place, place)
        if not inside.files:
            raise InputError(place, f"a folder without an image ({', '.join(SUFFIXES)})", "add one")
        found.files += inside.files
        found.links += inside.links
        found.passed += inside.passed
        found.hidden += inside.hidden
    found.files = list(dict.fromkeys(found.files))
    return found


def passed_over(inside: Mapping[str, Found]) -> str:
    """Part of a line on the files that are not read, by suffix, with the classes (keys) that have them.

    Empty where there are none; a key that is empty names no class.
    """
    counts: dict[str, Counter[str]] = {}
    for name, found in inside.items():
        for path in found.passed:
            suffix = shown(path.suffix.lower()) or "without a suffix"
            counts.setdefault(suffix, Counter())[name] += 1
    ordered = sorted(counts.items(), key=lambda item: (-item[1].total(), item[0]))
    parts = [f"{places.total()} {suffix}{_in_classes(places)}" for suffix, places in ordered]
    hidden = sum(len(found.hidden) for found in inside.values())
    parts = [*parts[:SHOWN], *([f"{len(parts) - SHOWN} more suffixes"] if len(parts) > SHOWN else [])]
    parts += [f"{hidden} hidden"] if hidden else []
    if not parts:
        return ""
    remedy = "; `pip install pillow-heif` to read .heic" if counts.keys() & {".heic", ".heif"} else ""
    return f"files passed over: {', '.join(parts)}{remedy}"


def _in_classes(places: Counter[str]) -> str:
    ordered = sorted(places.items(), key=lambda item: (-item[1], item[0]))
    named = [f"{shown(name)} {count}" for name, count in ordered if name]
    return f" ({and_more(named, SHOWN)})" if named else ""


def real_path(path: Path) -> Path:
    """The real location of `path`; unlike `Path.resolve`, no error for links that lead in a circle."""
    return Path(os.path.realpath(path))


def leads_out(path: Path, root: Path) -> bool:
    """Whether links on the way lead out of `root`, other than to this repository's cache.

    Folders that it tracks may have such links in the places of files (see `linked_cache`).
    """
    real = real_path(path)
    return not (real.is_relative_to(real_path(root)) or real.is_relative_to(linked_cache(repository())))


def _below(folder: Path) -> Iterator[Path]:
    """All files below `folder`, and the links to folders in it."""

    def refuse(error: OSError) -> None:
        raise InputError(str(error.filename), error.strerror, "make it readable") from None

    for place, folders, names in os.walk(folder, onerror=refuse):
        for name in [*names, *(name for name in folders if Path(place, name).is_symlink())]:
            yield Path(place, name)
