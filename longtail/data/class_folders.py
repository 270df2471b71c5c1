"""Your own images in a folder of class folders."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from longtail.data.image_files import SUFFIXES
from longtail.data.image_folders import Found, leads_out, search
from longtail.errors import InputError, and_more, shown

SPLITS = ("train", "training", "val", "valid", "validation", "test", "testing")
"""Names of folders that are splits where they hold the same classes, in any case."""

SHOWN = 5
"""How many faulty files, rows or classes an error names."""

Pairs = list[tuple[Path, str]]
"""Files with the names of their classes."""


def in_folders(root: Path) -> tuple[Pairs, dict[str, Found]]:
    """The images anywhere below each class folder, sorted, and what was found there, by class."""
    try:
        entries = sorted(path for path in root.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise InputError(root, error.strerror, "make it readable") from None
    links = [path for path in entries if path.is_symlink()]
    _refuse_links(root, [path for path in links if path.is_dir() or leads_out(path, root)])
    loose = [within(path, root) for path in entries if path.is_file() and path.suffix.lower() in SUFFIXES]
    if loose:
        raise InputError(
            root,
            f"{len(loose)} images are next to the class folders: {and_more(loose, SHOWN)}",
            "move each into the folder of its class",
        )
    classes = [path for path in entries if path.is_dir()]
    inside = {folder.name: search(folder, root) for folder in classes}
    _refuse_splits(root, {name: found.files for name, found in inside.items()})
    _refuse_links(root, [link for found in inside.values() for link in found.links])
    empty = [shown(name) for name, found in inside.items() if not found.files]
    if empty:
        raise InputError(
            root,
            f"{len(empty)} of {len(classes)} class folders have no image ({', '.join(SUFFIXES)}): "
            f"{and_more(empty, SHOWN)}",
            "add images or remove the folders",
        )
    pairs = [(path, name) for name, found in inside.items() for path in found.files]
    return pairs, inside


def _refuse_splits(root: Path, inside: dict[str, list[Path]]) -> None:
    """Raise InputError if the folders, by name with their images, are splits with the same classes below."""
    names = list(inside)
    if len(names) < 2 or not all(name.lower() in SPLITS for name in names):
        return
    parts = [{path.relative_to(root).parts[1:-1][:1] for path in files} for files in inside.values()]
    below = Counter(folder for found in parts for (folder,) in found - {()})
    common = sorted(name for name, count in below.items() if count > 1)
    if common:
        train = next((name for name in names if name.lower().startswith("train")), names[0])
        test = next((name for name in names if name.lower().startswith("test")), names[-1])
        raise InputError(
            root,
            f"{and_more(names, SHOWN)} are splits, not classes: {len(common)} folders are in more than one "
            f"({and_more(common, SHOWN)})",
            f"name the folder of one split, {shown(root / train)}, or two as "
            f"`images: {{own: {{train: .../{shown(train)}, test: .../{shown(test)}}}}}`",
        )


def _refuse_links(root: Path, links: Sequence[Path]) -> None:
    """Raise InputError if there are links that lead out of `root`, or to a folder."""
    if links:
        raise InputError(
            root,
            f"{len(links)} symbolic links lead out of it or to a folder: "
            f"{and_more([within(path, root) for path in links], SHOWN)}",
            "put the files themselves there",
        )


def within(path: Path, root: Path) -> str:
    """`path` as part of one line, relative to `root` if it lies in it."""
    return shown(path.relative_to(root) if path.is_relative_to(root) else path)
