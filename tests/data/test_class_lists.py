"""Lists of paths and labels as people have them: what is wrong with one is said in its words."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from longtail.data.class_lists import in_list
from longtail.data.sources.own import find_own
from tests.support.own_folders import build, refusal

ROWS = [("rare/000.png", "cat"), ("rare/001.png", "dog")]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return build(tmp_path)


def text(separator: str = ",", header: str = "path,label", rows: list = ROWS) -> str:
    lines = [header, *(",".join(row) for row in rows)]
    return "\n".join(lines).replace(",", separator) + "\n"


LISTS: dict[str, tuple[bytes, str]] = {
    "semicolons": (text(";").encode(), "semicolons between the columns; save it with commas"),
    "tabs": (text("\t").encode(), "tabs between the columns; save it with commas"),
    "bars": (text("|").encode(), "bars between the columns; save it with commas"),
    "UTF-16": (text().encode("utf-16"), "UTF-16, or no text; save it as UTF-8"),
    "UTF-16 without its mark": (text().encode("utf-16-le"), "UTF-16, or no text; save it as UTF-8"),
    "other names": (
        text(header="Path,class").encode(),
        "needs one column path and one label; found Path, class; rename them, or add a first line",
    ),
    "blanks in names": (
        text(header="path, label").encode(),
        "needs one column path and one label; found path,  label; rename them, or add a first line",
    ),
    "no header": (
        text(header="").strip().encode(),
        "needs one column path and one label; found rare/000.png, cat; ",
    ),
    "empty": (b"", "needs one column path and one label; found none; "),
    "an index": (
        text(header=",file,label").encode(),
        "needs one column path and one label; found '', file, label; ",
    ),
    "backslashes": (
        text(rows=[("rare\\000.png", "cat")]).encode(),
        "1 of 1 paths name no file in its folder: rare\\000.png (no such file; write / between folders); fix",
    ),
    "two of a name": (
        b"path,label,path\nx,y,z\n",
        "needs one column path and one label; found path, label, path",
    ),
    "a short row": (b"path,label\nx\n", "not a list with the columns path and label (CSV parse error: "),
    "not UTF-8": (b"path,label\nx,\xff\n", "not a list with the columns path and label ("),
}


@pytest.mark.parametrize("case", LISTS)
def test_what_is_wrong_with_a_csv_is_said(root: Path, case: str) -> None:
    content, expected = LISTS[case]
    (root / "list.csv").write_bytes(content)
    assert refusal(lambda: in_list(root / "list.csv")).startswith(f"{root}/list.csv: {expected}")


def test_a_csv_may_have_a_mark_of_utf_8_other_columns_and_carriage_returns(root: Path) -> None:
    lines = ["id,label,path", *(f"{n},{label},{path}" for n, (path, label) in enumerate(ROWS))]
    (root / "list.csv").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    assert in_list(root / "list.csv") == [(root / path, label) for path, label in ROWS]


def parquet(root: Path, **columns: Any) -> Path:
    pq.write_table(pa.table(columns), root / "list.parquet")
    return root / "list.parquet"


PATHS = [path for path, _ in ROWS]
COLUMNS: dict[str, tuple[dict[str, Any], str]] = {
    "bytes as labels": (
        {"path": PATHS, "label": [b"cat", b"dog"]},
        "column label is of type binary; store it as text",
    ),
    "bytes as codes": (
        {"path": PATHS, "label": pa.array([b"cat", b"dog"]).dictionary_encode()},
        "column label is of type binary; store it as text",
    ),
    "bytes as paths": (
        {"path": pa.array([b"a", b"b"], pa.large_binary()), "label": PATHS},
        "column path is of type large_binary; store it as text",
    ),
    "lists": ({"path": PATHS, "label": [["cat"], ["dog"]]}, "column label is of type list<"),
    "no number": ({"path": PATHS, "label": [1.0, float("nan")]}, "1 rows without a path or a label (first: "),
    "other names": (
        {"image": PATHS, "label": PATHS},
        "needs one column path and one label; found image, label; ",
    ),
}


@pytest.mark.parametrize("case", COLUMNS)
def test_what_is_wrong_with_a_parquet_file_is_said(root: Path, case: str) -> None:
    columns, expected = COLUMNS[case]
    path = parquet(root, **columns)
    assert refusal(lambda: in_list(path)).startswith(f"{path}: {expected}")


def test_labels_of_a_parquet_file_are_text_or_numbers(root: Path) -> None:
    for labels in (
        ["1", "2"],
        [1, 2],
        pa.array(["1", "2"]).dictionary_encode(),
        pa.array(["1", "2"], pa.large_string()),
    ):
        assert [label for _, label in in_list(parquet(root, path=PATHS, label=labels))] == ["1", "2"]


def test_labels_that_are_almost_equal_are_named_with_their_images(root: Path) -> None:
    names = ["cat", "Cat", "cat ", "dog", "e\u0301t\u00e9", "\u00e9t\u00e9", "a b", "ab"]
    paths = [str(path.relative_to(root)) for path in sorted(root.rglob("*.png"))]
    labels = ["cat"] * 5 + [names[n % len(names)] for n in range(len(paths) - 5)]
    found = find_own(parquet(root, path=paths, label=labels), 8)
    assert len(found.class_names) == len(names)
    assert found.notes == (
        "classes whose names differ only in blanks, case or Unicode form, with their images: "
        "'Cat' 6 and 'cat' 11 and 'cat ' 6; 'e\\u0301t\\xe9' 6 and "
        "'\\xe9t\\xe9' 6; each is a class of its own",
    )
