"""What trainings import: libraries that take longer to load than a small cell to train stay out."""

import subprocess
import sys
from pathlib import Path

import pytest

SLOW = ("torch._dynamo", "sympy", "pandas", "torchvision")

PROGRAM = """
import sys
from pathlib import Path
from longtail.meta.tangents import load_forward_mode
from longtail.pipeline.workers import train_job
from longtail.planning.fingerprints import fingerprint
from longtail.running.jobs import Job
from longtail.running.process import do_without_pandas
from tests.running.test_cells import inputs, plan_of

if {without}:
    do_without_pandas()
load_forward_mode()
folder = Path(sys.argv[1])
for name in {bundles}:
    plan = plan_of(name)
    for cell in plan.cells():
        features = folder / cell.variant if cell.head else None
        job = Job(plan, cell, fingerprint(plan, cell, inputs().fingerprints), features=features)
        train_job(job, folder / (name if features is None else cell.name), inputs())
print(*[name for name in {slow} if name in sys.modules])
"""
NETWORKS = [
    "cross_entropy",
    "difficulty_net",
    "difficulty_net_balanced_softmax",
    "difficulty_net_balanced_softmax_released",
    "meta_weight_net",
    "sample_difficulty_net",
    "cdb_ce_mwn",
    "dro_lt",
    "ldam_drw",
    "paco_balanced_softmax",
]


@pytest.mark.parametrize("without", [True, False])
def test_no_training_imports_what_takes_longer_than_it(without: bool, tmp_path: Path) -> None:
    """Networks of every kind and all heads; a process that may have pandas gets it from pyarrow."""
    bundles = [*NETWORKS, "cross_entropy-heads"] if without else ["cross_entropy"]
    program = PROGRAM.format(without=without, bundles=bundles, slow=SLOW)
    words = [sys.executable, "-c", program, str(tmp_path)]
    found = subprocess.run(words, capture_output=True, text=True, check=True)
    assert found.stdout.split() == ([] if without else ["pandas"]), found.stderr
