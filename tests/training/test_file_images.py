"""Images that stay files: each batch is a function of (seed, iteration), whoever decodes it and when."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance
from torch import Tensor
from torchvision import transforms

from longtail.config.presets import METHODS
from longtail.config.training import Steps, Training
from longtail.errors import InputError
from longtail.methods import build_method
from longtail.methods.dro_lt import class_centroids
from longtail.networks.imagenet import resnet10
from longtail.training.batches import Images, TrainingData
from longtail.training.from_files import photographs
from longtail.training.from_files.decoders import Decoders
from longtail.training.from_files.file_images import FileImages
from longtail.training.image_sets import View
from longtail.training.method import Batch, Task
from longtail.training.ranks import ALONE, Ranks
from longtail.training.throughput import Throughput
from longtail.training.trainer import Trainer, predict

SIDE = 24
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
TRAINING = Training(
    iterations=7,
    batch_size=8,
    meta_batch_size=5,
    sampler="shuffled",
    augment="photo",
    second_augment="photo_view",
    momentum=0.9,
    weight_decay=5e-4,
    nesterov=False,
    schedule=Steps(start=0.01, peak=0.01, warmup=0, milestones=()),
)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Forty JPEGs of different sizes, one of them grey."""
    folder, draws = tmp_path_factory.mktemp("jpegs"), np.random.default_rng(1)
    made = [folder / f"{row}.jpg" for row in range(40)]
    for row, file in enumerate(made):
        pixels = draws.integers(0, 256, (20 + row % 7, 30 - row % 5, 3)).astype(np.uint8)
        Image.fromarray(pixels[..., 0] if row == 3 else pixels).save(file)
    return made


def hashes(files: list[Path]) -> list[str]:
    return [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]


def images_of(files: list[Path], decoders: Decoders, ranks: Ranks = ALONE) -> FileImages:
    labels = torch.arange(len(files)) % 4
    return FileImages(files, hashes(files), labels, SIDE, MEAN, STD, decoders, ranks=ranks)


@contextmanager
def data_of(
    files: list[Path], workers: int, method: str = "paco", seed: int = 1
) -> Iterator[TrainingData[FileImages]]:
    """Thirty images to train on, ten of the meta set."""
    preset = METHODS[method]
    task = Task(counts=torch.tensor([8, 8, 7, 7]), seed=seed, imbalance=1)
    chosen = build_method(method, preset.settings().model_dump(by_alias=True), task)
    decoders = Decoders(workers)
    try:
        parts = images_of(files[:30], decoders), images_of(files[30:], decoders)
        yield TrainingData(*parts, TRAINING, chosen, seed)
    finally:
        decoders.close()


def batches(data: TrainingData[FileImages], iterations: range) -> list[Tensor]:
    """Everything that the training gets."""
    found: list[Tensor] = []
    for iteration in iterations:
        for batch in (data.train_batch(iteration), data.meta_batch(iteration)):
            assert isinstance(batch, Batch)
            found += [batch.images, batch.labels]
            found += [] if batch.second_view is None else [batch.second_view]
    return found


def same(one: list[Tensor], other: list[Tensor]) -> bool:
    return len(one) == len(other) and all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_any_number_of_processes_and_any_first_iteration_give_the_same_bytes(files: list[Path]) -> None:
    with data_of(files, 0) as alone, data_of(files, 2) as helped:
        expected = batches(alone, range(7))
        assert same(batches(helped, range(7)), expected)
    with data_of(files, 2) as resumed:
        assert same(batches(resumed, range(3, 7)), expected[3 * 5 :])
    with data_of(files, 0, seed=2) as other:
        assert not same(batches(other, range(7)), expected)


def test_a_training_that_is_taken_up_within_an_epoch_ends_in_the_same_weights(files: list[Path]) -> None:
    def trainer(data: TrainingData[FileImages]) -> Trainer:
        task = Task(counts=torch.tensor([8, 8, 7, 7]), seed=1, imbalance=1)
        method = build_method("cross_entropy", {}, task)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return Trainer(resnet10(4), method, data, TRAINING, 4)

    with data_of(files, 2, "cross_entropy") as data:
        whole = trainer(data)
        whole.run()
        assert data.batches_per_epoch == 4
    with data_of(files, 0, "cross_entropy") as data:
        begun = trainer(data)
        begun.model.train()
        for _ in range(2):
            begun._step()
        state = begun.state()
    with data_of(files, 2, "cross_entropy") as data:
        resumed = trainer(data)
        resumed.load_state(state)
        resumed.run()
    expected = whole.model.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in resumed.model.state_dict().items())
    assert not all(torch.equal(value, expected[name]) for name, value in begun.model.state_dict().items())


def test_each_rank_decodes_its_part_of_a_batch_and_of_the_set(files: list[Path]) -> None:
    view = View(torch.arange(7), "photo", 1, "augment", 3)
    whole, parts = (
        [images_of(files, Decoders(0), ranks) for ranks in every]
        for every in ([ALONE], [Ranks(rank, 3) for rank in range(3)])
    )
    expected, labels = whole[0].view(view)
    views = [part.view(view) for part in parts]
    assert torch.equal(torch.cat([images for images, _ in views]), expected)
    assert all(torch.equal(own, labels) for _, own in views)
    every = [torch.cat([images for part in sets for images in part.batches()]) for sets in (whole, parts)]
    assert torch.equal(every[0], every[1])


def test_the_centroids_of_dro_lt_are_those_of_images_in_memory(files: list[Path]) -> None:
    source = images_of(files, Decoders(0))
    in_memory = Images(torch.cat(list(source.batches())), source.labels)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = resnet10(4)
    one, other = (class_centroids(model, images, 5) for images in (source, in_memory))
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    assert bool((one[4] == 0).all() and (one[:4] != 0).any(dim=1).all())


def test_the_backbone_has_its_own_share_of_the_learning_rate(files: list[Path]) -> None:
    with data_of(files, 0, "cross_entropy") as data:
        method = build_method("dro_lt", {}, Task(counts=torch.ones(4), seed=1, imbalance=1))
        model = resnet10(4)
        trainer = Trainer(model, method, data, TRAINING.model_copy(update={"backbone_rate": 0.1}), 4)
    names = [name for name, _ in model.named_parameters()]
    assert trainer.optimiser.rates[-1] == 1.0  # what the method trains
    of = dict(zip(names, trainer.optimiser.rates[:-1], strict=True))
    assert {name for name, rate in of.items() if rate == 1.0} == {"classifier.weight"}
    assert set(of.values()) == {0.1, 1.0}


def test_what_is_expected_and_never_asked_for_changes_nothing(files: list[Path]) -> None:
    with data_of(files, 2) as data:
        expected = data.train_batch(0).images
        data.train.expect(View(torch.arange(30), "photo", 9, "other", 0))
        assert torch.equal(data.train_batch(0).images, expected)


def test_all_images_come_in_their_order_as_in_a_test(
    files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("longtail.training.from_files.file_images.BATCH", 7)
    decoders = Decoders(2)
    source = images_of(files, decoders)
    parts = list(source.batches())
    assert [len(part) for part in parts] == [7] * 5 + [5]
    rows = [
        (np.asarray(photographs.centre(Image.open(file).convert("RGB"), SIDE), np.float64) / 255 - MEAN) / STD
        for file in files
    ]
    expected = torch.from_numpy(np.stack(rows).transpose(0, 3, 1, 2)).float()
    torch.testing.assert_close(torch.cat(parts), expected, rtol=1e-5, atol=1e-6)
    raw = torch.from_numpy(np.stack([np.asarray(part) for part in rows]).transpose(0, 3, 1, 2)).float()
    model = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    in_memory = Images(raw, source.labels)
    torch.testing.assert_close(predict(model, source), predict(model, in_memory), rtol=1e-4, atol=1e-5)
    decoders.close()


def reference(
    image: Image.Image, box: list[int], flip: bool, order: tuple[int, ...], factors: list[float]
) -> np.ndarray:
    """The training view by NumPy's padding and Pillow's operations."""
    padded = Image.fromarray(np.pad(np.asarray(image), ((4, 4), (4, 4), (0, 0)), mode="reflect"))
    top, left, height, width = box
    view = padded.crop((left, top, left + width, top + height)).resize(
        (SIDE, SIDE), Image.Resampling.BILINEAR
    )
    view = view.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flip else view
    for place in order:
        view = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)[place](view).enhance(
            factors[place]
        )
    return np.asarray(view)


def test_the_training_view_is_that_of_pillow(files: list[Path]) -> None:
    flips, orders = set(), set()
    for row, file in enumerate(files):
        image = Image.open(file).convert("RGB")
        draws = torch.rand(
            photographs.DRAWS, generator=torch.Generator().manual_seed(row), dtype=torch.float64
        )
        height, width = image.height + 8, image.width + 8
        boxes = photographs.second_view.choose_boxes(
            draws[None, : photographs.BOX], height, width, photographs.AREA
        )
        flip, order = bool(draws[photographs.BOX] >= 0.5), int(6 * draws[photographs.BOX + 1])
        factors = (0.6 + 0.8 * draws[photographs.BOX + 2 : photographs.BOX + 5]).tolist()
        found = np.asarray(photographs.photo(image, draws, SIDE))
        expected = reference(image, boxes[0].tolist(), flip, photographs.ORDERS[order], factors)
        np.testing.assert_array_equal(found, expected)
        flips.add(flip)
        orders.add(order)
    assert (flips, orders) == ({True, False}, set(range(6)))


def test_crops_have_the_areas_and_shapes_of_torchvisions() -> None:
    draws = torch.rand(4000, photographs.BOX, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    boxes = photographs.second_view.choose_boxes(draws, 300, 400, photographs.AREA)
    top, left, height, width = boxes.unbind(1)
    assert bool((top >= 0).all() and (left >= 0).all())
    assert bool((top + height <= 300).all() and (left + width <= 400).all())
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = torch.tensor(
            [
                transforms.RandomResizedCrop.get_params(torch.empty(3, 300, 400), [0.08, 1.0], [3 / 4, 4 / 3])
                for _ in range(4000)
            ]
        )
    for ours, other in (
        (height * width, theirs[:, 2] * theirs[:, 3]),
        (width / height, theirs[:, 3] / theirs[:, 2]),
    ):
        quantiles = torch.linspace(0.05, 0.95, 10, dtype=torch.float64)
        one, two = (torch.quantile(values.double(), quantiles) for values in (ours, other))
        torch.testing.assert_close(one, two, rtol=0.06, atol=0)


def test_the_test_view_is_torchvisions_for_a_network_of_224(files: list[Path]) -> None:
    usual = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224)])
    image = Image.open(files[0]).convert("RGB").resize((310, 400))
    np.testing.assert_array_equal(np.asarray(photographs.centre(image, 224)), np.asarray(usual(image)))


def test_the_second_view_differs_by_its_draws(files: list[Path]) -> None:
    image = Image.open(files[0]).convert("RGB")
    draws = [torch.rand(photographs.DRAWS, dtype=torch.float64) for _ in range(2)]
    views = [np.asarray(photographs.photo_view(image, own, SIDE)) for own in (*draws, draws[0])]
    assert views[0].shape == (SIDE, SIDE, 3)
    assert np.array_equal(views[0], views[2])
    assert not np.array_equal(views[0], views[1])


def test_the_second_view_of_a_photograph_is_that_of_pacos_code(
    files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    image = Image.open(files[0]).convert("RGB")
    draws = torch.rand(photographs.DRAWS, dtype=torch.float64)
    found = photographs.photo_view(image, draws, SIDE)
    assert photographs.second_view.PHOTOGRAPHS.jitter == 1
    monkeypatch.setattr(photographs.second_view, "PHOTOGRAPHS", photographs.second_view.CIFAR)
    assert not np.array_equal(np.asarray(found), np.asarray(photographs.photo_view(image, draws, SIDE)))


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda file: file.write_bytes(file.read_bytes()[:200]), "changed since the pool was made"),
        (lambda file: file.unlink(), "No such file"),
    ],
    ids=["changed", "gone"],
)
def test_a_file_that_is_not_the_one_of_the_pool_is_named(
    workers: int, spoil: Callable[[Path], object], words: str, tmp_path: Path
) -> None:
    file = tmp_path / "one.jpg"
    Image.new("RGB", (30, 30)).save(file)
    decoders = Decoders(workers)
    source = images_of([file], decoders)
    spoil(file)
    with pytest.raises(InputError, match=words) as error:
        list(source.batches())
    assert str(file) in str(error.value)
    assert "\n" not in str(error.value)
    decoders.close()


def test_a_damaged_image_is_named(tmp_path: Path) -> None:
    file = tmp_path / "cut.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 60, 3)).astype(np.uint8)).save(file)
    file.write_bytes(file.read_bytes()[:800])
    with pytest.raises(InputError, match=r"cut\.jpg: damaged"):
        list(images_of([file], Decoders(0)).batches())


def test_a_process_that_dies_is_one_line(files: list[Path]) -> None:
    decoders = Decoders(1)
    source = images_of(files, decoders)
    assert len(next(source.batches())) == len(files)
    pool = decoders._pool
    assert pool is not None
    os.kill(next(iter(pool._processes)), signal.SIGKILL)

    def go_on() -> None:
        for _ in range(200):
            list(source.batches())

    with pytest.raises(InputError, match="a process that decodes images: ended"):
        go_on()
    decoders.close()


def test_the_processes_are_no_copies_of_the_training() -> None:
    """Which may have started CUDA: they come from a server, and know nothing that happened here."""
    decoders = Decoders(1)
    pool = decoders._pool
    assert pool is not None
    assert pool.submit(os.getppid).result() not in (os.getpid(), os.getppid())
    decoders.close()


KILLED = """
import os, signal
from longtail.training.from_files.decoders import Decoders
print(Decoders(1)._pool.submit(os.getpid).result(), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_the_processes_end_when_the_training_is_killed() -> None:
    command = [sys.executable, "-c", KILLED]
    ended = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=60, check=False)
    worker = int(ended.stdout)
    for _ in range(200):
        try:
            os.kill(worker, 0)
        except ProcessLookupError:
            break
        state = Path(f"/proc/{worker}/stat")
        if state.is_file() and state.read_text().rsplit(")", 1)[1].split()[0] == "Z":
            break  # dead, and nobody has asked for its exit code
        time.sleep(0.05)
    else:
        pytest.fail(f"process {worker} is still there")


def test_rates_are_images_over_seconds_of_loading_and_of_the_rest() -> None:
    clock = Throughput(images=600, loading=2.0, looping=8.0)
    assert clock.rates(None) == {
        "loader_images_per_second": 300.0,
        "step_images_per_second": 100.0,
        "waited": 0.25,
    }
    assert clock.rates(900.0)["loader_images_per_second"] == 900.0
    assert set(Throughput().rates(None).values()) == {None}


def test_the_loader_is_timed_where_it_works_and_the_step_without_it(files: list[Path]) -> None:
    with data_of(files, 0) as data:
        batches(data, range(2))
        assert data.throughput.images == 2 * (8 + 8 + 5)
        rate = data.train.decoding_rate
        assert rate is not None
        assert 0 < data.throughput.images / rate <= data.throughput.loading
