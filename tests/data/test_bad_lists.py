"""Official lists through the stages: bad ones, and bad images, end in one line before anything is made."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from longtail.config import benchmarks
from tests.support.damages import BOMB
from tests.support.listed_benchmarks import IMBALANCE, TOTALS, params_text, put_in_place, small, write_tree
from tests.support.stage_runs import run_stage

NAME = "imagenet-lt"
LIST = "lists/Four_LT_train.txt"
IMAGE = "images/train/arch/0.jpg"
BUNDLE = "resnet10-difficulty_net"


@pytest.fixture(scope="module", autouse=True)
def few_layers() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        put_in_place(monkeypatch)
        yield


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Lists, images and parameters, which no test changes."""
    root = tmp_path_factory.mktemp("tree")
    write_tree(root)
    (root / "params.yaml").write_text(params_text(NAME))
    return root


@pytest.fixture
def root(tree: Path, tmp_path: Path) -> Path:
    """A copy of them."""
    return Path(shutil.copytree(tree, tmp_path / "run"))


def refusal(root: Path, *words: str) -> str:
    """Run a stage, which refuses in one line and makes nothing."""
    before = {path for path in root.rglob("*") if path.is_file()}
    found = run_stage(root, *words, "--benchmark", NAME)
    assert (found.code, found.stderr.count("\n")) == (2, 1), found.stderr
    assert len(found.stderr) < 1000
    assert {path for path in root.rglob("*") if path.is_file()} == before
    return found.stderr


def instead(line: str) -> Callable[[Path], object]:
    """Another first line of the list of training images."""

    def damage(root: Path) -> None:
        lines = (root / LIST).read_text().splitlines()
        (root / LIST).write_text("\n".join([line, *lines[1:]]) + "\n")

    return damage


def file_leads_out(root: Path) -> None:
    """A symbolic link to an image beside the root, which is a sound one."""
    shutil.copy(root / IMAGE, root / "elsewhere.jpg")
    (root / IMAGE).unlink()
    (root / IMAGE).symlink_to(root / "elsewhere.jpg")


def folder_leads_out(root: Path) -> None:
    """A symbolic link to a folder of sound images beside the root."""
    (root / "images/train/arch").rename(root / "elsewhere")
    (root / "images/train/arch").symlink_to(root / "elsewhere")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (instead("/etc/passwd 0"), (LIST, "line 1", "/etc/passwd", "is absolute")),
        (instead("train/../../params.yaml 0"), (LIST, "line 1", "climbs")),
        (file_leads_out, ("train/arch/0.jpg: a symbolic link that leaves the root; copy the file",)),
        (folder_leads_out, ("train/arch: a symbolic link leads it out of the root; copy the folder",)),
    ],
)
def test_what_lies_outside_of_the_root_is_refused(
    root: Path, damage: Callable[[Path], object], words: tuple[str, ...]
) -> None:
    damage(root)
    said = refusal(root, "prepare")
    assert [word for word in words if word not in said] == [], said


def test_ten_thousand_missing_files_are_counted_and_the_first_five_named(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost, there = 10_000, TOTALS.train + TOTALS.val + TOTALS.test
    with (root / LIST).open("a") as file:
        file.writelines(f"train/arch/lost{number}.jpg 2\n" for number in range(lost))
    more = {"train": TOTALS.train + lost, "largest": TOTALS.largest + lost}
    totals = type(TOTALS)(**{**vars(TOTALS), **more})
    chosen = small(benchmarks.IMAGENET_LT).model_copy(update={"totals": totals})
    monkeypatch.setitem(benchmarks.BENCHMARKS, NAME, chosen)
    params = root / "params.yaml"
    params.write_text(params.read_text().replace(IMBALANCE, f"{totals.imbalance:g}"))
    said = refusal(root, "prepare")
    assert f"10,000 of {there + lost:,} images are missing" in said
    assert [f"lost{number}.jpg" in said for number in range(6)] == [True] * 5 + [False]


def test_a_decompression_bomb_is_named_and_never_decoded(root: Path) -> None:
    (root / IMAGE).write_bytes(BOMB)
    said = refusal(root, "prepare", "--verify")
    assert "1 of 43 images cannot be used" in said
    assert "train/arch/0.jpg" in said
    for stage in (["plan"], ["prepare"], ["subsample", IMBALANCE], ["extract_meta", IMBALANCE]):
        done = run_stage(root, *stage, "--benchmark", NAME)
        assert done.code == 0, done.stderr
    said = refusal(root, "represent", IMBALANCE, BUNDLE)
    assert "train/arch/0.jpg" in said
    assert "more than 80,000,000 pixels" in said
