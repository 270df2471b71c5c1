"""What MLflow is told of a filled place of a table: a run with the means over its seeds."""

import json
import math
from collections.abc import Mapping, Sequence

from longtail.config.layouts import Row
from longtail.pipeline.records import column_name
from longtail.pipeline.tracking import Record, digest
from longtail.reporting.table_text import MARKS, to_reference
from longtail.reporting.tables import Column, Entry, Table, select


def mean_records(table: Table, cells: Mapping[str, Record]) -> list[Record]:
    """A record for every row and column of `table` that has numbers, in its order; `cells` by name."""
    return [
        mean_record(table, group.name, row, index, entry, cells)
        for group in table.layout.groups
        for row in group.rows
        for index, entry in enumerate(table.entries[group.name, row.label])
        if entry is not None
    ]


def mean_record(
    table: Table, group: str, row: Row, index: int, entry: Entry, cells: Mapping[str, Record]
) -> Record:
    """The numbers that `table` shows of `row` in column `index`, with what its seeds have in common.

    The difference to the reference is a tag: it changes with other rows (Holm's correction), and tags are
    kept current.
    """
    column: Column = table.columns[index]
    reports = select(table.reports, row, column.imbalance, column.network)
    seeds = [cells[name] for name in dict.fromkeys(report.cell for report in reports)]  # rows may share cells
    params = {
        name: value
        for name, value in seeds[0].params.items()
        if name != "seed" and all(seed.params.get(name) == value for seed in seeds)
    }
    ece = [seed.metrics["ece"] for seed in seeds]
    metrics = {f"acc_{split}": interval.mean for split, interval in entry.items() if interval}
    metrics |= {
        f"ci95_{split}": interval.half_width
        for split, interval in entry.items()
        if interval and interval.half_width is not None
    }
    metrics = {
        name: round(value, 4) for name, value in (metrics | {"ece": math.fsum(ece) / len(ece)}).items()
    }
    number = f"mean of {len(seeds)} {'seed' if len(seeds) == 1 else 'seeds'}"
    return Record(
        name=" · ".join([row.label, column_name(table, column), number]),
        identity={
            "table": str(table.layout.number),
            "row_group": group,
            "row": row.label,
            "cell": f"imb{column.imbalance:g}-{row.name}",
            "fingerprint": digest(*(seed.identity["fingerprint"].encode() for seed in seeds)),
            "scores": digest(json.dumps(metrics, sort_keys=True).encode()),
        },
        tags={
            "variant": str(row.variant),
            "reference": table.layout.reference.label,
            "vs_reference": narrow(to_reference(table, group, row, index)),
        },
        params={"row": row.label, **params, "seeds": ", ".join(seed.params["seed"] for seed in seeds)},
        artifacts={},
        end=max(seed.end for seed in seeds),
        seconds=math.fsum(seed.seconds for seed in seeds) / len(seeds),
        metrics=metrics,
        curves=mean_curves(seeds),
    )


def narrow(difference: str) -> str:
    """`▲ +14.2±2.8` for `+14.2 ± 2.8 ▲`: the end of a text may not fit into MLflow's columns."""
    for mark in MARKS.values():
        if difference.endswith(mark):
            difference = f"{mark.strip()} {difference.removesuffix(mark)}"
    return difference.replace(" ± ", "±")


def mean_curves(seeds: Sequence[Record]) -> dict[str, list[tuple[int, float]]]:
    """The mean of each curve at the iterations at which every seed has a point."""
    found = {}
    for name in seeds[0].curves:
        courses = [dict(seed.curves.get(name, [])) for seed in seeds]
        steps = sorted(set.intersection(*map(set, courses)))
        found[name] = [(step, math.fsum(course[step] for course in courses) / len(courses)) for step in steps]
    return found
