"""Two rows of the tables, or all rows in two revisions of the repository, compared."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from longtail.config.layouts import Layouts, Row, read_layouts
from longtail.config.presets.preset import did_you_mean
from longtail.errors import InputError, flat
from longtail.pipeline import paths
from longtail.pipeline.remedies import remedies
from longtail.pipeline.revision import is_revision, revision_names
from longtail.planning.plans import TablesPlan, read_tables_plan
from longtail.reporting.changes import Change, revisions_text, rows_text
from longtail.reporting.differences import common_seeds
from longtail.reporting.reports import CellReport, read_reports
from longtail.reporting.tables import Column, select

WORKSPACE = "workspace"
"""What DVC calls the files as they lie here."""


@remedies("run `dvc repro`")
def compare(
    old: str, new: str, benchmark: str, imbalance: float | None, network: str | None, results: Path
) -> str:
    """What changes from row or revision `old` to `new`, as text. Raises InputError."""
    layouts = read_layouts()
    rows = [find_row(layouts, name) for name in (old, new)]
    if rows[0] and rows[1]:
        with paths.within(results):
            return compare_rows(rows[0], rows[1], benchmark, imbalance, network)
    for name, row in zip((old, new), rows, strict=True):
        if row is None and not is_revision(name) and name != WORKSPACE:
            raise InputError(f"'{name}'", "neither a row nor a revision", name_remedy(layouts, name))
    if any(rows):
        row, revision = (old, new) if rows[0] else (new, old)
        raise InputError(f"'{revision}'", "a revision", f"'{row}' is a row: give two rows, or two revisions")
    if results != Path():
        raise InputError(f"--results {results}", "has no revisions", "name two rows, or leave it out")
    return compare_revisions(layouts, old, new, benchmark, imbalance, network)


def find_row(layouts: Layouts, name: str) -> Row | None:
    """The row called `name`, if there is one."""
    try:
        return layouts.row(name)
    except InputError:
        return None


def name_remedy(layouts: Layouts, name: str) -> str:
    """What `name` may have meant."""
    close = did_you_mean(name, [*layouts.names(), *revision_names(), WORKSPACE])
    if close.startswith("did"):
        return close
    return "name a row as in the tables, or a variant, with +head; or a commit, branch, tag or experiment"


def compare_rows(old: Row, new: Row, benchmark: str, imbalance: float | None, network: str | None) -> str:
    """Row `new` minus row `old` of the reports here. Raises InputError."""
    plan, reports = here(benchmark)
    column = choose_column(plan, imbalance, network)
    change = Change(new.label, *(select(reports, row, *astuple(column)) for row in (old, new)))
    for row, found in ((old, change.old), (new, change.new)):
        if not found:
            where = f"'{row.label}' ({row.name}) at imbalance {column.imbalance:g}, {column.network}"
            raise InputError(where, f"no finished training of {benchmark}")
    if not common_seeds(change.old, change.new):
        raise InputError(f"'{old.label}' and '{new.label}'", "no seed is there of both")
    return rows_text(change, *(f"{row.label} ({row.name})" for row in (old, new)))


def compare_revisions(
    layouts: Layouts, old: str, new: str, benchmark: str, imbalance: float | None, network: str | None
) -> str:
    """All rows of revision `new` minus those of revision `old`. Raises InputError."""
    sides = []
    for revision in (old, new):
        with revision_folder(revision, benchmark) as folder, paths.within(folder):
            sides.append(here(benchmark))
    column = choose_column(sides[1][0], imbalance, network)
    rows = {row.name: row for row in reversed(layouts.rows)}
    changes = [
        Change(row.label, *(select(reports, row, *astuple(column)) for _, reports in sides))
        for row in reversed(rows.values())
    ]
    return revisions_text([change for change in changes if change.old or change.new], old, new)


def here(benchmark: str) -> tuple[TablesPlan, list[CellReport]]:
    """The plan and the reports in the working folder that fit it. Raises InputError."""
    plan = read_tables_plan(paths.tables_plan(benchmark))
    places = (partial(path, benchmark) for path in (paths.cell_report, paths.model))
    return plan, read_reports(plan, *places, partial=True)[0]


def choose_column(plan: TablesPlan, imbalance: float | None, network: str | None) -> Column:
    """`imbalance` (None: the largest) and `network` (None: the first) if planned. Raises InputError."""
    if imbalance is not None and imbalance not in plan.imbalances:
        known = ", ".join(f"{planned:g}" for planned in plan.imbalances)
        raise InputError(f"--imbalance {imbalance:g}", "not planned", f"choose from {known}")
    if network is not None and network not in plan.networks:
        raise InputError(f"--network {network}", "not planned", f"choose from {', '.join(plan.networks)}")
    return Column(imbalance or max(plan.imbalances), network or plan.networks[0])


@contextmanager
def revision_folder(revision: str, benchmark: str) -> Iterator[Path]:
    """A folder with plan and reports of `benchmark` as they are in `revision`. Raises InputError."""
    if revision == WORKSPACE:
        yield Path()
        return
    from dvc.api import DVCFileSystem
    from dvc.exceptions import DvcException

    wanted = (paths.tables_plan(benchmark), paths.report(benchmark, "cells"))
    with TemporaryDirectory() as folder:
        try:
            files = DVCFileSystem(rev=revision)
            for path in wanted:
                (Path(folder) / path.parent).mkdir(parents=True, exist_ok=True)
                files.get(path.as_posix(), str(Path(folder) / path), recursive=True)
        except FileNotFoundError:
            problem = f"no reports of {benchmark} there, or DVC's cache has lost them"
            raise InputError(revision, problem, "commit dvc.lock after `dvc repro`") from None
        except DvcException as error:
            raise InputError(revision, flat(error), "see `dvc status`") from None
        yield Path(folder)
