"""Heads that the meta set chooses, on features trained already: what do they add, at no training cost?

    python -m benchmarks.chosen_heads FOLDER [--benchmark cifar100-lt] [--imbalance 100] [--seed 1]

FOLDER is a clone with the finished cells of stage 1 in models/ and their images in data/; nothing in it
changes. Numbers are chosen on the meta set; test images are used once, for the choice that was made. Beside
it the LAS cell of the same features, where there is one, with McNemar's exact test on the test images.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.machine import described
from longtail.config.benchmarks import find_benchmark
from longtail.config.presets import METHODS
from longtail.data.manifests import read_manifest
from longtail.data.pools import read_images, read_pool
from longtail.inference.predictors import rebuild
from longtail.methods import build_method
from longtail.networks.heads import WithHead
from longtail.reporting.accuracy import SPLITS, correct, group_accuracy, shot_groups
from longtail.reporting.comparisons import mcnemar
from longtail.reporting.evaluation import read_predictions, read_record
from longtail.running.cell_folders import read_cell
from longtail.training.batches import Images
from longtail.training.method import Task
from longtail.training.post_hoc import PostHocHead
from longtail.training.trainer import predict

RESULTS = Path(__file__).parent / "results" / "chosen_heads.md"
HEADS = ("tau_norm", "logit_adjustment", "tau_norm_adjustment", "difficulty_adjustment")


class Features(nn.Module):
    """In place of a network: its inputs are features already, [B, F, 1, 1]."""

    def features(self, images: Tensor) -> Tensor:
        """[B, F]."""
        return images.flatten(1)


@torch.no_grad()
def features_of(network: nn.Module, images: Images) -> Images:
    """The features of all images, as images of one pixel."""
    found = torch.cat([network.features(part) for part in images.batches()])  # type: ignore[operator]
    return Images(found[:, :, None, None], images.labels)


def percent(logits: np.ndarray, labels: np.ndarray, groups: dict[str, list[int]]) -> list[str]:
    """Test accuracy over all, many-, medium- and few-shot classes."""
    found = group_accuracy(logits, labels, groups)
    return [f"{found[split]:.1f}" for split in SPLITS]


def rows(folder: Path, benchmark: str, imbalance: float, variant: str, seed: int) -> list[list[str]]:
    """One row for each head on the selected features of `variant`."""
    data, models = folder / "data" / benchmark, folder / "models" / benchmark / f"imb{imbalance:g}"
    pool = read_pool(data / "pool.parquet")
    images = read_images(data / "images.npy", pool)
    cell = models / variant / f"seed{seed}"
    record = read_cell(cell)
    thresholds = find_benchmark(benchmark).groups
    groups = shot_groups(record.counts, thresholds, "kang")
    meta = read_manifest(data / f"imb{imbalance:g}" / "meta.parquet", "meta", pool, imbalance)
    test = pool.rows("test")

    def images_of(numbers: np.ndarray, labels: np.ndarray) -> Images:
        mean, std = tuple(record.mean), tuple(record.std)
        return features_of(network, Images.of(images[numbers], labels, mean, std, torch.device("cpu")))

    network = rebuild(cell, "selected")
    classifier = network.classifier
    assert isinstance(classifier, nn.Linear)
    labels = pool.label[test]
    meta_images, test_images = images_of(meta.image, meta.label), images_of(pool.image[test], labels)
    task = Task(torch.tensor(record.counts), seed, imbalance)
    whole = WithHead(Features(), classifier)
    plain = predict(whole, test_images).numpy()
    meta_right = correct(predict(whole, meta_images).numpy(), meta.label).mean()
    found = [[variant, "none", "", f"{100 * meta_right:.1f}", *percent(plain, labels, groups), ""]]
    las, las_hits = models / f"{variant}-heads" / f"las-seed{seed}", None
    if las.is_dir():
        fingerprint = read_record(las, f"imb{imbalance:g}-{variant}-las-seed{seed}").fingerprint
        path = las / "predictions.parquet"
        _, logits = read_predictions(path, len(record.counts), fingerprint, record.disjoint.test.sha256)
        las_hits = correct(logits["logits"], labels)
        found.append([variant, "LAS (trained)", "", "", *percent(logits["logits"], labels, groups), ""])
    for name in HEADS:
        settings = METHODS[name].settings.model_validate({}).model_dump(by_alias=True)
        method = build_method(name, settings, task)
        assert isinstance(method, PostHocHead)
        model = WithHead(Features(), method.head(classifier))
        method.start_epoch(model, meta_images, meta_images)
        choice = method.choice()
        assert choice is not None
        logits = predict(model, test_images).numpy()
        against = ""
        if las_hits is not None:
            hits = correct(logits, labels)
            only, other = int((hits & ~las_hits).sum()), int((las_hits & ~hits).sum())
            against = f"{only} : {other}, p = {mcnemar(only, other):.2g}"
        numbers = ", ".join(f"{key} {value:g}" for key, value in choice.chosen.items())
        best = f"{100 * max(choice.meta_accuracy):.1f}"
        found.append([variant, name, numbers, best, *percent(logits, labels, groups), against])
    return found


def main() -> None:
    """Print the table and write it to `benchmarks/results/chosen_heads.md`."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--benchmark", default="cifar100-lt")
    parser.add_argument("--imbalance", type=float, default=100.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--variants", nargs="+", default=["cross_entropy", "difficulty_net"])
    given = parser.parse_args()
    torch.set_num_threads(1)
    columns = ("features", "head", "chosen", "meta", *SPLITS, "only this : only LAS, McNemar")
    lines = [
        "# Heads that the meta set chooses",
        "",
        f"`python -m benchmarks.chosen_heads`: {given.benchmark}, imbalance {given.imbalance:g}, seed "
        f"{given.seed}, features of the weights selected on the meta set. {described()}.",
        "",
        f"| {' | '.join(columns)} |",
        f"| --- | --- | --- |{' --: |' * 5} --- |",
    ]
    print("\n".join(lines))
    for variant in given.variants:
        for row in rows(given.folder, given.benchmark, given.imbalance, variant, given.seed):
            lines.append(f"| {' | '.join(row)} |")
            print(lines[-1], flush=True)
    RESULTS.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
