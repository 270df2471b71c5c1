"""BatchNorm below a retrained head: kept, or moving with the batches of stage 2."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor, nn

from longtail.config.presets import METHODS
from longtail.config.presets.preset import TrainedHeadSettings
from longtail.inference.predictors import rebuild
from longtail.networks.heads import WithHead, batch_norms
from longtail.networks.imagenet import ImageNetwork
from longtail.training.trainer import predict
from tests.support import trained_cells
from tests.support.heads import changed, make_head_trainer, retrain
from tests.support.small_training import CLASSES

HEADS = [name for name, preset in METHODS.items() if issubclass(preset.settings, TrainedHeadSettings)]
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


@pytest.mark.parametrize("head", HEADS)
def test_frozen_only_the_head_changes(head: str) -> None:
    before, model, _ = retrain(head, {"batch_norm": "frozen"}, iterations=6)
    assert all(name.startswith("head.") for name in changed(before, model))
    assert model.trained is model.head


@pytest.mark.parametrize("head", HEADS)
def test_in_training_the_statistics_change_too_and_no_parameter_of_the_network(head: str) -> None:
    before, model, _ = retrain(head, {"batch_norm": "training"}, iterations=6)
    below = {name for name in changed(before, model) if name.startswith("network.")}
    assert below == {
        f"network.{name}" for name, _ in model.network.named_buffers() if name.endswith(STATISTICS)
    }
    assert len(below) == 3 * len(batch_norms(model.network))


def test_in_training_features_are_normalised_by_the_batch_and_prediction_is_not() -> None:
    trainer = make_head_trainer("crt", {"batch_norm": "training"}, dtype=torch.float64)
    model, images = trainer.model, trainer.data.train.pixels[:16]
    assert isinstance(model, WithHead)
    network = model.network
    whole = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]
    seen: list[Tensor] = []
    whole[0].register_forward_hook(lambda layer, inputs, output: seen.append(output.detach().clone()))
    model.train()
    features = model.features(images)
    assert not features.requires_grad
    weight, bias = whole[0].weight.detach(), whole[0].bias.detach()
    torch.testing.assert_close(seen[0].mean(dim=(0, 2, 3)), bias, rtol=0, atol=1e-10)
    spread = seen[0].std(dim=(0, 2, 3), correction=0)
    torch.testing.assert_close(spread, weight.abs(), rtol=1e-3, atol=1e-6)
    together, alone = predict(model, images), predict(model, images[:1])
    torch.testing.assert_close(together[:1], alone, rtol=1e-10, atol=1e-10)


def test_of_a_network_with_a_new_block_that_block_alone_moves() -> None:
    with torch.device("meta"):
        network = ImageNetwork("resnet50", CLASSES, cosine=True, new_block=True)
    assert network.new_block is not None
    model = WithHead(network, nn.Identity(), "training").train()
    moving = {id(layer) for layer in network.new_block.modules() if isinstance(layer, nn.BatchNorm2d)}
    assert {id(layer) for layer in network.modules() if layer.training} == moving
    assert len(moving) == 3
    assert not any(layer.training for layer in model.eval().modules())


@pytest.mark.parametrize("batch_norm", ["frozen", "training"])
def test_a_rebuilt_head_predicts_what_its_training_did(tmp_path: Path, batch_norm: str) -> None:
    trained_cells.train(tmp_path, "cross_entropy", iterations=6)
    folder = trained_cells.train(
        tmp_path, "cross_entropy", "crt", iterations=6, head_settings={"batch_norm": batch_norm}
    )
    images = torch.from_numpy(trained_cells.unseen_images()).permute(0, 3, 1, 2).float() / 255
    inputs = ((images - 0.3053) / 0.3759).contiguous(memory_format=torch.channels_last)
    table = pq.read_table(folder / "predictions.parquet")
    expected = np.array(table["logits"].to_pylist(), dtype=np.float32)
    with torch.no_grad():
        found = rebuild(folder, "last")(inputs)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_on_imagenet_lt_and_places_lt_it_follows_the_code_that_their_schedule_comes_from() -> None:
    for head in HEADS:
        found = {
            benchmark: METHODS[head].resolve(head, benchmark, 100, {}, 0.3)["batch_norm"]
            for benchmark in ("digits-lt", "cifar100-lt", "cifar10-lt", "own", "imagenet-lt", "places-lt")
        }
        assert [name for name, value in found.items() if value == "training"] == ["imagenet-lt", "places-lt"]
