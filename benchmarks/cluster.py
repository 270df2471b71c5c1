"""Cells an hour on the workers of a cluster, compared with the local executor.

    python -m benchmarks.cluster

On this machine: a Dask scheduler, and one or two `longtail workers`. The long cells are Difficulty-Net on
digits-LT; the wanted speed-up of two workers on two cores is 1.9. Many tiny cells show what a cell costs
beside its training; wanted is less than a second. All in one run, in a temporary folder.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.machine import described
from tests.support import clusters
from tests.support.stage_runs import start_python

RESULTS = Path(__file__).parent / "results" / "cluster.md"


@contextmanager
def cluster(folder: Path, workers: int) -> Iterator[str]:
    """The address of a scheduler with as many workers, once all have joined."""
    words = ("-m", "longtail", "workers")
    with clusters.scheduler(folder) as (address, _):
        log = folder / f"workers{workers}.log"
        with clusters.group((*words, address, "--count", str(workers)), log) as machine:
            while log.read_text().count(" joined ") < workers:
                if machine.poll() is not None:
                    raise RuntimeError(log.read_text())
                time.sleep(0.1)
            yield address


def run(folder: Path, method: str, cells: int, length: int, *words: str) -> float:
    """Train so many cells; seconds from the start of the first to the end of the last."""
    folder.mkdir()
    seeds = ", ".join(map(str, range(1, cells + 1)))
    (folder / "params.yaml").write_text(
        f"lambda: 0.3\nimbalances: {{digits-lt: [50]}}\nseeds: [{seeds}]\nschedule: {{length: {length}}}\n"
    )
    command = ("-m", "longtail", "reproduce", "--benchmark", "digits-lt", "--device", "cpu", "--only", method)
    process = start_python(folder, *command, *words)
    while not list(folder.glob("work/*/")) and process.poll() is None:
        time.sleep(0.01)
    start = time.time()
    _, errors = process.communicate()
    ends = [path.stat().st_mtime for path in folder.glob("work/*/finished/cell.json")]
    if process.returncode or len(ends) != cells:
        raise RuntimeError(errors)
    return max(ends) - start


def report(found: dict[tuple[str, str], float], cells: int, length: int, tiny: int) -> str:
    """The table, in Markdown."""
    base = found["long", "cluster, 1 at once"]
    lines = [
        "# Cells on a cluster, and on local processes",
        "",
        f"`python -m benchmarks.cluster --cells {cells} --length {length} --tiny {tiny}`: {described()}.",
        "",
        f"Scheduler, workers and client on this machine. {cells} cells of {length} iterations of "
        f"Difficulty-Net on digits-LT, and {tiny} of one iteration of cross-entropy; from the first start to "
        "the last end.",
        "",
        "| executor | cells an hour | against one worker | a tiny cell, times the workers |",
        "| --- | --: | --: | --: |",
    ]
    for name in dict.fromkeys(name for _, name in found):
        long, short = found["long", name], found["tiny", name]
        at_once = 2 if " 2 " in name else 1
        lines.append(
            f"| {name} | {3600 * cells / long:,.0f} | {base / long:.2f} | {at_once * short / tiny:.2f} s |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, print, and write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cells", type=int, default=6)
    parser.add_argument("--length", type=int, default=1000, help="iterations of a cell")
    parser.add_argument("--tiny", type=int, default=300, help="cells of one iteration")
    parser.add_argument("--output", type=Path, default=RESULTS, help="the Markdown file")
    given = parser.parse_args()
    if min(given.cells, given.length, given.tiny) < 1:
        parser.exit(2, "cluster: give numbers from 1 on\n")
    sizes = {"long": ("difficulty_net", given.cells, given.length), "tiny": ("cross_entropy", given.tiny, 1)}
    found: dict[tuple[str, str], float] = {}
    with tempfile.TemporaryDirectory() as place, ExitStack() as stack:
        for where in ("local", "cluster"):
            for count in (1, 2):
                words = ("--jobs", str(count))
                if where == "cluster":
                    stack.close()  # the workers before
                    words = ("--cluster", stack.enter_context(cluster(Path(place), count)))
                for kind, size in sizes.items():
                    name = f"{where}, {count} at once"
                    found[kind, name] = run(Path(place) / f"{kind}-{where}{count}", *size, *words)
                    print(f"{kind} cells: {name}: {found[kind, name]:.1f} s", flush=True)
    text = report(found, given.cells, given.length, given.tiny)
    print(text)
    given.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
