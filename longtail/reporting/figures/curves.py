"""The training curves of all cells, as rows of numbers."""

from typing import Any

import numpy as np

from longtail.config.layouts import Row
from longtail.reporting.study import CURVES, Study, stacked


def curves_rows(study: Study) -> list[list[Any]]:
    """Loss, entropy and meta accuracy (0..1) by iteration: means over seeds of every planned row."""
    rows: list[list[Any]] = [["cell", "variant", "head", "imbalance", "iteration", *CURVES]]
    several = len(study.plan.networks) > 1
    seen = dict.fromkeys((r.imbalance, r.network, r.variant, r.head) for r in study.reports)
    for imbalance, network, variant, head in seen:
        parts = [f"imb{imbalance:g}", *([network] if several else []), variant]
        name = "-".join([*parts, *([head] if head else [])])
        cells = study.cells(Row(label=name, variant=variant, head=head), imbalance, network)
        means = np.stack([stacked(cells, curve).mean(axis=0) for curve in CURVES], axis=1)
        rows += [
            [name, variant, head, f"{imbalance:g}", int(step), *map(float, values)]
            for step, values in zip(cells[0].iteration, means, strict=True)
        ]
    return rows
