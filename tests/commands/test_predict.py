"""A trained cell made again from its folder, and `predict` on image files."""

import csv
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from longtail.commands.predict import BATCH, main
from longtail.data.image_folders import find_images
from longtail.errors import InputError
from longtail.inference import predictors
from longtail.inference.predictors import Weights, load_predictor
from longtail.pipeline import console
from longtail.training.trainer import predict
from tests.support.image_files import spoilt_images
from tests.support.names import NAMES
from tests.support.trained_cells import digits, inputs, train, unseen_images

MODELS = Path("models/digits-lt/imb50")
HEADS = Path("models/digits-lt/imb50-heads/cross_entropy-heads")
CELLS = {
    "a network": MODELS / "cross_entropy/seed1",
    "a network that its method changed": MODELS / "ldam/seed1",
    "a head on the selected features": HEADS / "crt-seed1",
    "a head of another class": HEADS / "tau_norm-seed1",
}
PLAIN, LDAM, CRT, _ = CELLS.values()
SHAPE = (8, 8, 1)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with models/."""
    root = tmp_path_factory.mktemp("trained")
    for variant, head in (
        ("cross_entropy", None),
        ("ldam", None),
        ("cross_entropy", "crt"),
        ("cross_entropy", "tau_norm"),
    ):
        train(root, variant, head)
    return root


@pytest.fixture
def folder(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it to spoil; the working folder."""
    copy = tmp_path / "work"
    shutil.copytree(trained, copy)
    monkeypatch.chdir(copy)
    return copy


def rewrite(path: Path, **changes: Any) -> None:
    facts = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({name: value for name, value in facts.items() if value != "gone"}))


@pytest.mark.parametrize("cell", CELLS)
def test_a_model_from_its_folder_gives_the_logits_that_its_training_saved(cell: str, trained: Path) -> None:
    table = pq.read_table(trained / CELLS[cell] / "predictions.parquet")
    columns: dict[Weights, str] = {"last": "logits", "selected": "logits_selected"}
    for weights, column in columns.items():
        predictor = load_predictor(trained / CELLS[cell], weights)
        logits = predictor.logits(unseen_images())
        assert logits.dtype == np.float32
        np.testing.assert_allclose(logits, np.array(table[column].to_pylist()), rtol=1e-5, atol=1e-5)
        exponentials = np.exp(logits.astype(float) - logits.max(axis=1, keepdims=True))
        expected = exponentials / exponentials.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(predictor.probabilities(unseen_images()), expected, rtol=1e-12)
        assert predictor.class_names == tuple("0123456789")


def test_the_features_of_a_head_are_those_that_its_settings_name(folder: Path) -> None:
    """crt starts from the selected weights: those of the last iteration may go, the others may not."""
    assert json.loads((CRT / "cell.json").read_text())["settings"]["start"] == "selected"
    expected = load_predictor(CRT).logits(unseen_images())
    (PLAIN / "weights.safetensors").unlink()
    np.testing.assert_array_equal(load_predictor(CRT).logits(unseen_images()), expected)
    moved = (PLAIN / "selected.safetensors").rename("elsewhere")
    with pytest.raises(InputError, match=r"selected\.safetensors: no such file"):
        load_predictor(CRT)
    shutil.copytree(PLAIN, "features")
    moved.rename("features/selected.safetensors")
    shutil.rmtree(PLAIN)
    found = load_predictor(CRT, features=Path("features")).logits(unseen_images())
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("precision", ["float32", "tf32", "bf16"])
def test_a_model_predicts_in_the_precision_of_its_training(
    precision: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = load_predictor(PLAIN).logits(unseen_images())
    training = json.loads((PLAIN / "cell.json").read_text())["training"]
    rewrite(PLAIN / "cell.json", training={**training, "precision": precision})
    convolutions, seen = torch.backends.cudnn.conv, []  # pyright: ignore[reportAttributeAccessIssue]

    def watched(*given: Any) -> torch.Tensor:
        seen.append(convolutions.fp32_precision)
        return predict(*given)

    monkeypatch.setattr(predictors, "predict", watched)
    logits = load_predictor(PLAIN).logits(unseen_images())
    assert seen == ["tf32" if precision == "tf32" else "ieee"]
    assert np.array_equal(logits, expected) is not (precision == "bf16")
    np.testing.assert_allclose(logits, expected, atol=0.02 * np.abs(expected).max())
    np.testing.assert_array_equal(
        load_predictor(PLAIN, precision="float32").logits(unseen_images()), expected
    )


def spoil_truncate(folder: Path) -> None:
    path = PLAIN / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-50])


BROKEN = {
    "no cell": (Path("models"), lambda folder: None, "models/cell.json: no such cell"),
    "a file": (PLAIN / "cell.json", lambda folder: None, "a file; a model is the folder of a cell"),
    "no weights": (PLAIN, lambda folder: (PLAIN / "weights.safetensors").unlink(), "no such file"),
    "truncated weights": (PLAIN, spoil_truncate, "truncated, or no safetensors"),
    "weights of another network": (
        PLAIN,
        lambda folder: shutil.copy(LDAM / "weights.safetensors", PLAIN),
        "weights of another network",
    ),
    "an older cell": (PLAIN, lambda folder: rewrite(PLAIN / "cell.json", mean="gone"), "mean: missing"),
    "an unknown method": (
        PLAIN,
        lambda folder: rewrite(PLAIN / "cell.json", method="magic"),
        "method 'magic' is not known",
    ),
    "an unknown network": (
        PLAIN,
        lambda folder: rewrite(PLAIN / "cell.json", network="vgg"),
        "network 'vgg' is not known",
    ),
    "unknown settings": (
        PLAIN,
        lambda folder: rewrite(CRT / "cell.json", settings={"start": "last", "colour": 1}),
        "settings.colour",
    ),
    "features that are gone": (CRT, lambda folder: shutil.rmtree(PLAIN), "a head without its features"),
    "features of another training": (
        CRT,
        lambda folder: rewrite(PLAIN / "cell.json", fingerprint="f" * 64),
        "has ffffffffffff: one of the two was trained again",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_wrong_with_a_model_is_one_line(name: str, folder: Path) -> None:
    model, spoil, expected = BROKEN[name]
    spoil(folder)
    with pytest.raises(InputError) as caught:
        load_predictor(CRT if name == "unknown settings" else model)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_arrays_that_are_no_images_of_the_model_are_refused(trained: Path) -> None:
    predictor = load_predictor(trained / PLAIN)
    assert predictor.logits(np.zeros((0, *SHAPE), np.uint8)).shape == (0, 10)
    for wrong in (np.zeros((2, *SHAPE)), np.zeros((2, 8, 8, 3), np.uint8), np.zeros(SHAPE, np.uint8)):
        with pytest.raises(ValueError, match="expected uint8 of 8x8x1 each"):
            predictor.logits(wrong)  # type: ignore[arg-type]


def test_folders_are_searched_in_order_by_the_rules_of_prepare(tmp_path: Path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "out"
    names = ["b.png", "a/z.JPG", "a/b/c.webp", "c.jpeg", "d.bmp"]
    passed = ("._b.png", ".thumbnails/b.png", "notes.txt")
    for path in (*(inside / name for name in (*names, *passed)), outside / "secret.png"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    (inside / "link.png").symlink_to(outside / "secret.png")
    (inside / "loop").symlink_to(inside)
    (inside / "a/away").symlink_to(outside)
    (inside / "e.png").symlink_to(inside / "b.png")
    found = find_images([inside / "c.jpeg", inside])
    assert found.files == [
        inside / name for name in ("c.jpeg", "a/b/c.webp", "a/z.JPG", "b.png", "d.bmp", "e.png")
    ]
    assert found.links == [inside / name for name in ("a/away", "link.png", "loop")]
    assert found.hidden == [inside / name for name in passed[:2]]
    assert found.passed == [inside / name for name in passed[2:]]
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="a folder without an image"):
        find_images([tmp_path / "empty"])


def save_digits(folder: Path, count: int) -> np.ndarray:
    """The first test digits as files; their rows in predictions.parquet are the numbers in the names."""
    folder.mkdir()
    for row, image in enumerate(unseen_images()[:count]):
        Image.fromarray(image[..., 0]).save(folder / f"{row:04}.png")
    return digits().label[inputs().pool.image[inputs().pool.rows("test")]][:count]


def test_predict_prints_the_classes_of_every_image_and_writes_them(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    count = BATCH + 9  # more than one batch
    labels = save_digits(folder / "images", count)
    main(images=[Path("images")], model=CRT, top=10, csv=Path("new/out.csv"), device="cpu")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("predict      imb50-cross_entropy-crt-seed1, last weights (iteration 30)")
    assert lines[-1] == f"predict      done: {count} images, new/out.csv"
    answers = lines[1:-1]
    assert len(answers) == count
    assert len({len(line) for line in answers}) == 1
    rows = list(csv.DictReader(Path("new/out.csv").read_text().splitlines()))
    assert list(rows[0]) == ["path", "rank", "class", "probability"]
    expected = np.array(pq.read_table(CRT / "predictions.parquet")["logits"].to_pylist())[:count]
    for index, line in enumerate(answers):
        own = rows[10 * index : 10 * index + 10]
        assert {row["path"] for row in own} == {f"images/{index:04}.png"} == {line.split()[0]}
        assert [row["rank"] for row in own] == [str(rank) for rank in range(1, 11)]
        assert [int(row["class"]) for row in own] == np.argsort(-expected[index], kind="stable").tolist()
        assert sum(float(row["probability"]) for row in own) == pytest.approx(1, abs=1e-4)
        assert line.split()[1:3] == [own[0]["class"], f"{100 * float(own[0]['probability']):.1f}"]
    best = np.array([int(row["class"]) for row in rows[::10]])
    assert (best == labels).mean() > 0.4


def test_bad_images_are_left_out_only_when_that_is_wanted(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_digits(folder / "images", 3)
    Image.new("L", (20, 16)).save(folder / "images/wide.png")
    bad = spoilt_images(folder)
    given = [*bad, Path("images")]
    Path("out.csv").write_text("old")
    with pytest.raises(InputError, match="--skip-bad leaves it out"):
        main(images=given, model=PLAIN, csv=Path("out.csv"), device="cpu")
    assert Path("out.csv").read_text() == "old"
    capsys.readouterr()
    main(images=given, model=PLAIN, csv=Path("out.csv"), skip_bad=True, device="cpu")
    said = capsys.readouterr().out.splitlines()
    assert len(Path("out.csv").read_text().splitlines()) == 1 + 4 * 3
    left_out = [line for line in said if "left out: " in line]
    assert len(left_out) == len(bad)
    assert "predict      images/wide.png is 16x20: resized to 8x8, as are all others that differ" in said
    assert said[-1] == f"predict      done: 4 images, {len(bad)} left out, 1 resized, out.csv"
    with pytest.raises(InputError, match=f"none of {len(bad)} images could be read; the first: "):
        main(images=list(bad), model=PLAIN, skip_bad=True, device="cpu")
    with pytest.raises(InputError, match="a folder; give a file"):
        main(images=[Path("images")], model=PLAIN, csv=folder)


def test_answers_for_the_images_before_a_bad_one_are_not_lost(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save_digits(folder / "images", BATCH + 9)
    bad = Path(f"images/{BATCH + 4:04}.png")
    bad.write_text("no image")
    Path("out.csv").write_text("old")
    words = ["predict", "--model", str(PLAIN), "--csv", "out.csv", "images", "--top", "2"]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as stop:
        console.run(main)
    said = capsys.readouterr()
    assert (stop.value.code, said.err.count("\n")) == (2, 1)
    assert said.err.startswith(f"error: {bad}: not an image in ")
    assert said.out.splitlines()[-1] == f"predict      out.partial.csv has the {BATCH + 4} images before"
    assert sum(line.startswith("images/") for line in said.out.splitlines()) == BATCH + 4
    assert Path("out.csv").read_text() == "old"
    save_digits(folder / "all", BATCH + 4)
    main(images=[Path("all")], model=PLAIN, csv=Path("all.csv"), top=2, device="cpu")
    assert Path("out.partial.csv").read_text() == Path("all.csv").read_text().replace("all/", "images/")


def test_class_names_may_be_any_text(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_digits(folder / "images", 3)
    names = [*NAMES[:-1], "two\nlines"]
    rewrite(PLAIN / "cell.json", class_names=names)
    main(images=[Path("images")], model=PLAIN, csv=Path("out.csv"), top=10, device="cpu")
    assert len(capsys.readouterr().out.splitlines()) == 5
    with Path("out.csv").open(encoding="utf-8", newline="") as file:
        assert {row["class"] for row in csv.DictReader(file)} == set(names)


def test_16_bit_images_are_read_as_those_that_the_model_was_trained_on(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_digits(folder / "eight", 3)
    Path("twelve").mkdir()
    for path in sorted(Path("eight").iterdir()):
        pixels = np.asarray(Image.open(path)).astype(np.uint16)
        Image.fromarray((pixels << 4) | (pixels >> 4)).save(Path("twelve", path.name))
    answers, notes = [], []
    for images, bits in (("eight", "gone"), ("twelve", "gone"), ("twelve", 12)):
        rewrite(PLAIN / "cell.json", pixel_rules={"upright": True, "bits": bits} if bits != "gone" else bits)
        main(images=[Path(images)], model=PLAIN, top=10, device="cpu")
        said = capsys.readouterr().out.replace("twelve", "eight").splitlines()
        answers.append([line for line in said if line.startswith("eight")])
        notes.append([line for line in said if "3 16-bit grey images have values up to 4,095: all" in line])
    assert answers[0] == answers[2] != answers[1]
    assert list(map(len, notes)) == [0, 1, 0]


def test_an_error_is_one_line_and_exit_code_2(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["predict", "--model", str(PLAIN), "--device", "cpu", "missing.png"])
    with pytest.raises(SystemExit) as stop:
        console.run(main)
    assert stop.value.code == 2
    assert capsys.readouterr().err == "error: missing.png: no such file; --skip-bad leaves it out\n"
