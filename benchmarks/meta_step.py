"""Time, memory and error of a Difficulty-Net iteration on ResNet-32, next to a plain step and two libraries.

    python -m benchmarks.meta_step
    python -m benchmarks.meta_step --device cuda

The methods (`benchmarks.meta_ways`) take turns in one process; the table has medians. Peak memory is measured
in a separate process, above what it held with model and images loaded. The error is that of the gradient of
theta, relative to double backward in float64 from the same state: the first iteration, where the problem is
worst conditioned. The roofline (`benchmarks.roofline`) is the time that arithmetic and memory traffic would
take at the rates that this machine reaches.

`higher` and TorchOpt come with the extra `benchmarks`: `pip install -c constraints.txt -e '.[benchmarks]'`.
"""

import argparse
import gc
import json
import subprocess
import sys
from pathlib import Path
from statistics import median

import torch
from torch import Tensor

from benchmarks.machine import described
from benchmarks.meta_ways import WAYS, Setting
from benchmarks.roofline import Rates, Work, table, waited
from longtail.meta.tangents import load_forward_mode
from longtail.running.process import keep_freed_memory

RESULTS = Path(__file__).parent / "results"
PLAIN, OWN, LIBRARIES = "cross-entropy", "Difficulty-Net, exact", ("higher", "TorchOpt")
TARGETS = {"ratio": 3.3, "time": 0.65, "memory": 0.65}
MIB = 2**20


def seconds(setting: Setting, rounds: int) -> dict[str, list[float]]:
    """Wall time of one iteration of each way, round by round."""
    steps = {name: way(setting)[0] for name, way in WAYS.items()}
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(-1, rounds):  # the first warms up
        for name, step in steps.items():
            gc.collect()  # the libraries leave cycles
            start = waited(setting.device)
            step()
            if turn >= 0:
                taken[name].append(waited(setting.device) - start)
    return taken


def theta_gradient(name: str, setting: Setting) -> Tensor:
    """The gradient of theta in the first iteration, flat, float64."""
    step, theta = WAYS[name](setting)
    step()
    return torch.cat([value.grad.flatten() for value in theta if value.grad is not None]).double()


def errors(device: torch.device) -> dict[str, float]:
    """Relative distance to double backward in float64; of the exact way also where it runs in float64."""
    reference = theta_gradient("double backward", Setting(device, torch.float64))
    found = {name: theta_gradient(name, Setting(device)) for name in WAYS if name != PLAIN}
    found[f"{OWN}, float64"] = theta_gradient(OWN, Setting(device, torch.float64))
    return {name: float((value - reference).norm() / reference.norm()) for name, value in found.items()}


def memory(name: str, device: torch.device) -> float:
    """Peak MiB of two iterations of one way, above what was held before them. For a process of its own."""
    step, _ = WAYS[name](Setting(device))
    load_forward_mode()
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
    else:
        before = resident("VmRSS")
    for _ in range(2):
        step()
    if device.type == "cuda":
        return (torch.cuda.max_memory_allocated(device) - before) / MIB
    return (resident("VmHWM") - before) / MIB


def resident(name: str) -> int:
    """Bytes of memory that this process has (VmRSS), or had at its peak (VmHWM); Linux.

    Not `ru_maxrss`: a process that was just started inherits it from the one that started it.
    """
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    line = next(line for line in status.splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


def memories(device: torch.device, threads: int) -> dict[str, float]:
    """Peak MiB of every way."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.meta_step",
        "--device",
        str(device),
        "--threads",
        str(threads),
    ]
    return {
        name: float(
            json.loads(subprocess.run([*command, "--memory", name], capture_output=True, check=True).stdout)
        )
        for name in WAYS
    }


def measured(device: torch.device, rounds: int, threads: int) -> str:
    """The table, in Markdown."""
    setting = Setting(device)
    taken = {name: median(values) for name, values in seconds(setting, rounds).items()}
    peak, error = memories(device, threads), errors(device)
    work = {name: Work.counted(WAYS[name](setting)[0]) for name in (PLAIN, OWN)}
    rows = [
        f"| {name} | {1000 * taken[name]:.1f} | {taken[name] / taken[PLAIN]:.2f} | {peak[name]:.0f} | "
        + (f"{error[name]:.1e} |" if name in error else "– |")
        for name in WAYS
    ]
    slower = {name: taken[OWN] / taken[name] for name in LIBRARIES}
    larger = {name: peak[OWN] / peak[name] for name in LIBRARIES}
    verdicts = [
        ("of a plain step's time", taken[OWN] / taken[PLAIN], TARGETS["ratio"]),
        *((f"of {name}'s time", value, TARGETS["time"]) for name, value in slower.items()),
        *((f"of {name}'s memory", value, TARGETS["memory"]) for name, value in larger.items()),
    ]
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{threads} thread(s)"
    lines = [
        f"`python -m benchmarks.meta_step --device {device.type} --rounds {rounds} --threads {threads}`: "
        f"{where}; {described()}",
        "",
        f"ResNet-32, batch {setting.batch}, meta batch {setting.meta}, channels last, float32; medians of "
        f"{rounds} rounds.",
        "",
        "| one iteration | ms | times plain | peak memory, MiB | error of the gradient |",
        "| --- | --: | --: | --: | --: |",
        *rows,
        "",
        f"In float64 the exact gradient is {error[f'{OWN}, float64']:.1e} from double backward.",
        "",
        *(
            f"- {value:.2f} {what} (target: at most {target}): {'met' if value <= target else 'missed'}"
            for what, value, target in verdicts
        ),
        "",
        *table(work, taken, Rates.measured(device)),
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure, print, and write benchmarks/results/meta_step[-cuda].md."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1, help="of torch, on the CPU; a cell trains with 1")
    parser.add_argument("--memory", choices=list(WAYS), help="print the peak MiB of one way, nothing else")
    parser.add_argument(
        "--errors", action="store_true", help="print the errors of the gradients, nothing else"
    )
    given = parser.parse_args()
    if given.device == "cuda" and not torch.cuda.is_available():
        parser.exit(2, "meta_step: no CUDA device here; leave out --device cuda\n")
    keep_freed_memory()
    torch.set_num_threads(given.threads)
    device = torch.device(given.device)
    if given.errors:
        print(json.dumps(errors(device), indent=2))
        return
    if given.memory:
        print(json.dumps(memory(given.memory, device)))
        return
    text = measured(device, given.rounds, given.threads)
    print(text)
    name = "meta_step.md" if device.type == "cpu" else "meta_step_cuda.md"
    (RESULTS / name).write_text(f"# One iteration of Difficulty-Net\n\n{text}", encoding="utf-8")


if __name__ == "__main__":
    main()
