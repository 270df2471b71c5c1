"""Which device a training runs on, and what is said where a GPU cannot be used."""

from pathlib import Path

import pytest
import torch

from longtail.errors import InputError
from longtail.pipeline import devices
from longtail.pipeline.devices import choose_device, cuda_problem, has_nvidia_device

OLD = "The NVIDIA driver on your system is too old (found version 11040)."


@pytest.fixture
def old_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    def init() -> None:
        raise RuntimeError(OLD)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "init", init)


def pci(system: Path, vendor: str, kind: str) -> None:
    folder = system / "sys/bus/pci/devices/0000:01:00.0"
    folder.mkdir(parents=True)
    (folder / "vendor").write_text(f"{vendor}\n")
    (folder / "class").write_text(f"{kind}\n")


@pytest.mark.parametrize(
    ("vendor", "kind", "expected"),
    [("0x10de", "0x030200", True), ("0x10de", "0x040300", False), ("0x1002", "0x030000", False)],
)
def test_an_nvidia_gpu_is_seen_without_a_driver(
    vendor: str, kind: str, expected: bool, tmp_path: Path
) -> None:
    assert not has_nvidia_device(tmp_path)
    pci(tmp_path, vendor, kind)
    assert has_nvidia_device(tmp_path) is expected


@pytest.mark.usefixtures("old_driver")
@pytest.mark.parametrize("present", [True, False])
def test_a_gpu_that_torch_cannot_use_is_not_passed_over_in_silence(
    present: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(devices, "has_nvidia_device", lambda: present)
    assert choose_device("auto") == "cpu"
    line = f"warning: torch cannot use the NVIDIA device here: {OLD.rstrip('.')}\n"
    assert capsys.readouterr().err == (line if present else "")
    assert choose_device("cpu") == "cpu"
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("old_driver")
def test_a_wish_for_cuda_is_refused_in_the_words_of_torch() -> None:
    with pytest.raises(
        InputError, match=r"--device cuda: torch cannot use CUDA here: The NVIDIA driver .* too"
    ):
        choose_device("cuda")


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_torch_gives_a_reason_here() -> None:
    problem = cuda_problem()
    assert problem is not None
    assert len(problem.splitlines()) == 1
