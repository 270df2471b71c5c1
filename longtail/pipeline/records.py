"""What MLflow is told: a run for every row, column and seed of a table, and one for all reports."""

import csv
import io
import json
import math
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from longtail.config.layouts import Layouts
from longtail.errors import InputError, found_value
from longtail.files import read_object
from longtail.pipeline import paths
from longtail.pipeline.tracking import Record, digest
from longtail.planning.plans import TablesPlan
from longtail.reporting.reports import CellReport, FailedReport
from longtail.reporting.study import history_of
from longtail.reporting.table_text import tail_name
from longtail.reporting.tables import Column, Table, select
from longtail.running.cell_folders import HISTORY
from longtail.training.histories import SCALARS

REMEDY = "run `dvc repro`"
TAG_LIMIT = 8000
"""Characters that MLflow takes in the value of a tag."""


def read_curves(path: Path, report: CellReport) -> dict[str, list[tuple[int, float]]]:
    """The scalars of a history by iteration, without what is no number. Raises InputError."""
    table = history_of(path, report)
    steps = table["iteration"].to_pylist()
    return {
        name: [
            (step, value)
            for step, value in zip(steps, table[name].to_pylist(), strict=True)
            if value is not None and math.isfinite(value)
        ]
        for name in SCALARS
    }


def flat(prefix: str, value: Any) -> dict[str, str]:
    """Nested settings as text by dotted names: `training.schedule.peak`."""
    if isinstance(value, dict):
        return {k: v for name, inner in value.items() for k, v in flat(f"{prefix}.{name}", inner).items()}
    return {prefix: value if isinstance(value, str) else json.dumps(value)}


def per_class_csv(report: CellReport) -> bytes:
    """Accuracy of every class in percent, with its training images and shot group."""
    group = {index: name for name, indices in report.groups.members.items() for index in indices}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["class", "name", "training_images", "shot_group", "accuracy", "accuracy_selected"])
    columns = (report.class_names, report.counts, report.per_class, report.selected.per_class)
    for index, (name, count, *accuracies) in enumerate(zip(*columns, strict=True)):
        writer.writerow([index, name, count, group[index], *accuracies])
    return text.getvalue().encode()


def cell_record(bundle: str, member: str, report: CellReport, lambda_: float | None) -> Record:
    """What a cell is in every table: parameters, accuracies, curves. Raises InputError."""
    folder = paths.model(report.benchmark, report.imbalance, bundle, member)
    facts = read_object(folder / "cell.json", REMEDY)
    seconds = read_object(folder / "timing.json", REMEDY).get("seconds", 0.0)
    if not isinstance(seconds, int | float) or not 0 <= seconds < 1e9:
        raise InputError(folder / "timing.json", f"seconds {found_value(seconds)}", REMEDY)
    scores = report.model_dump_json(include={"accuracy", "per_class", "ece", "selected", "groups"})
    # MLflow sorts metrics by name: "acc" comes before all curves
    percent = {f"acc_{split}": value for split, value in report.accuracy.items()} | {"ece": report.ece}
    return Record(
        name=f"seed {report.seed}",
        identity={
            "cell": report.cell,
            "fingerprint": report.fingerprint,
            "scores": digest(scores.encode()),  # other shot groups give other scores of the same training
        },
        tags={"variant": report.variant, "device": report.device},
        params={
            "method": report.method,
            "head": report.head or "none",
            "imbalance": f"{report.imbalance:g}",
            "seed": str(report.seed),
            **({} if lambda_ is None else {"lambda": f"{lambda_:g}"}),
            "network": report.network,
            "shot_groups": report.groups.convention,
            **flat("settings", report.settings),
            **flat("training", facts.get("training", {})),
        },
        artifacts={"per_class.csv": per_class_csv(report)},
        end=paths.cell_report(report.benchmark, report.imbalance, bundle, member).stat().st_mtime,
        seconds=seconds,
        metrics={name: round(value, 4) for name, value in percent.items() if value is not None},
        curves=read_curves(folder / HISTORY, report),
    )


def failed_record(bundle: str, member: str, failure: FailedReport) -> Record:
    """What a cell whose training failed is in every table: the reason, and no numbers."""
    return Record(
        name=f"seed {failure.seed} · FAILED",
        identity={
            "cell": failure.cell,
            "fingerprint": failure.fingerprint,
            "scores": digest(failure.failed.encode()),
        },
        tags={"variant": failure.variant, "reason": failure.failed, "iteration": str(failure.iteration)},
        params={
            "network": failure.network,
            "head": failure.head or "none",
            "imbalance": f"{failure.imbalance:g}",
            "seed": str(failure.seed),
        },
        artifacts={},
        end=paths.cell_report(failure.benchmark, failure.imbalance, bundle, member).stat().st_mtime,
        status="FAILED",
    )


def cell_records(
    plan: TablesPlan, reports: list[CellReport], failures: list[FailedReport]
) -> dict[str, Record]:
    """A record for every planned cell, by its name. Raises InputError."""
    # lambda is no setting of a head, but of the features that it stands on
    lambdas = {
        (report.imbalance, report.variant, report.seed): report.settings.get("lambda")
        for report in reports
        if report.head is None
    }
    members = {
        member.cell(bundle): (bundle.bundle, member.member)
        for bundle in plan.bundles
        for member in bundle.members
    }
    records = {
        report.cell: cell_record(
            *members[report.cell], report, lambdas.get((report.imbalance, report.variant, report.seed))
        )
        for report in reports
    }
    return records | {failure.cell: failed_record(*members[failure.cell], failure) for failure in failures}


def column_name(table: Table, column: Column) -> str:
    """`imbalance 50`; the network where the columns of `table` are networks."""
    if table.layout.columns == "networks":
        return column.network
    name = tail_name(table.plan.benchmark, column.imbalance)
    return name[0].lower() + name[1:]


def seed_records(
    table: Table, reports: list[CellReport], failures: list[FailedReport], cells: Mapping[str, Record]
) -> list[Record]:
    """A record for every row, column and seed of `table`, in its order."""
    records = []
    for group in table.layout.groups:
        for row in group.rows:
            for column in table.columns:
                sound = select(reports, row, column.imbalance, column.network)
                failed = select(failures, row, column.imbalance, column.network)
                for report in (*sound, *failed):
                    cell = cells[report.cell]
                    place = {"table": str(table.layout.number), "row_group": group.name, "row": row.label}
                    name = " · ".join([row.label, column_name(table, column), cell.name])
                    params = {"row": row.label, **cell.params}
                    identity = {**place, **cell.identity}
                    records.append(replace(cell, name=name, identity=identity, params=params))
    return records


def reports_record(plan: TablesPlan, layouts: Layouts, reports: list[CellReport]) -> Record:
    """All tables and figures as the artifacts of one run. Raises InputError if one is missing."""
    names = [f"table{layout.number}.{ending}" for layout in layouts.tables for ending in ("md", "csv")]
    names += [
        f"figure{layout.number}.{ending}" for layout in layouts.figures for ending in ("svg", "png", "csv")
    ]
    names += ["index.html", "claims.md", "claims.csv", "metrics.json", "curves.csv"]
    files = [paths.report(plan.benchmark, name) for name in names]
    for path in files:
        if not path.is_file() or not path.stat().st_size:
            raise InputError(path, "empty" if path.is_file() else "no such file", REMEDY)
    artifacts = {path.name: path.read_bytes() for path in files}
    ours = [report for report in reports if (report.variant, report.head) == ("difficulty_net", None)]
    lambda_ = {"lambda": f"{ours[0].settings['lambda']:g}"} if ours else {}
    imbalances = ", ".join(f"{imbalance:g}" for imbalance in plan.imbalances)
    seeds = ", ".join(map(str, plan.seeds))
    params = {
        **lambda_,
        "imbalances": imbalances,
        "seeds": seeds,
        "shot_groups": plan.groups.convention,
        "schedule_fraction": f"{plan.schedule_fraction:g}",
        **({} if plan.length is None else {"schedule_length": f"{plan.length} {plan.unit}"}),
        **({} if plan.batch_size is None else {"batch_size": str(plan.batch_size)}),
    }
    try:
        note = artifacts[names[0]].decode()
    except UnicodeDecodeError:
        raise InputError(files[0], "damaged, not UTF-8", REMEDY) from None
    note = re.sub("-{4,}", "---", re.sub(" {2,}", " ", note))  # rendered, columns need no alignment
    if len(note) > TAG_LIMIT:
        note = f"{note.splitlines()[0]}\n\nIt is too long for this page: `{names[0]}` among the artifacts."
    return Record(
        name=" · ".join(
            [*(f"lambda {value}" for value in lambda_.values()), f"imb {imbalances}", f"seeds {seeds}"]
        ),
        identity={"contents": digest(*artifacts.values())},
        tags={"mlflow.note.content": note},
        params=params,
        artifacts=artifacts,
        end=max(path.stat().st_mtime for path in files),
    )
