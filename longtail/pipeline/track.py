"""Tables as MLflow experiments: which runs there should be, and logging those that are missing."""

from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial

from longtail.config.layouts import read_layouts
from longtail.pipeline import console, paths
from longtail.pipeline.mean_records import mean_records
from longtail.pipeline.mlflow_internals import RESULTS, View
from longtail.pipeline.records import cell_records, column_name, reports_record, seed_records
from longtail.pipeline.remedies import remedies
from longtail.pipeline.revision import code_tags
from longtail.pipeline.tracking import Record, Tracker, database, locked, patiently, server
from longtail.pipeline.unsynced import unsynced
from longtail.planning.plans import read_tables_plan
from longtail.reporting.reports import read_reports
from longtail.reporting.tables import Table, fill

PAGE = """{title}. {caption}

One run per row and column has the means over the seeds, as in the table, and one per seed has its curves
and classes. `acc_...` and `ece` are percent on the test images, `ci95_...` is the half-width of the mean's
95% interval, `vs_reference` the difference to {reference}, paired by seed (▲ better, ▼ worse)."""
REPORTS_PAGE = (
    "The tables and figures as files: open a run, then Artifacts. One run for each distinct set of them."
)
MEANS = (
    *(f"metrics.`{name}`" for name in ("acc_all", "ci95_all", "acc_few")),
    *(f"params.`{name}`" for name in ("row", "imbalance", "seeds", "lambda")),
    "tags.`vs_reference`",
)
"""As many as a screen of 1600 pixels shows; MLflow orders them by name within each kind."""
SEEDS = (
    *(f"metrics.`{name}`" for name in ("acc_all", "acc_many", "acc_medium", "acc_few", "ece")),
    *(f"params.`{name}`" for name in ("row", "imbalance", "seed", "lambda")),
)
REPORTS_COLUMNS = tuple(f"params.`{name}`" for name in ("lambda", "imbalances", "seeds", "shot_groups"))


@dataclass(frozen=True)
class Page:
    """An experiment: what it says of itself, the prepared views of its runs, its runs."""

    description: str
    views: list[View]
    records: list[Record]


@dataclass
class Logged:
    """How many runs are new, had been cut short and are completed, or have got another name or tag."""

    new: int = 0
    mended: int = 0
    relabelled: int = 0


def log_missing(tracker: Tracker, pages: dict[str, Page], logged: Logged) -> None:
    """Log what is not there yet, and count it; called again after a failure, it takes up what it left."""
    missing = []
    for name, page in pages.items():
        experiment = tracker.experiment(name, page.description, page.views)
        known = tracker.runs(experiment, tuple(page.records[0].identity)) if page.records else {}
        for record in page.records:
            run = known.get(tuple(record.identity.values()))
            if run is None or run.info.status != record.status:
                missing.append((experiment, record, run))
            else:
                logged.relabelled += tracker.relabel(run, record)
    code = code_tags()
    with console.progress("track", len(missing), "runs") as progress:
        for finished, (experiment, record, run) in enumerate(missing, start=1):
            tracker.log(experiment, record, code, run)
            logged.new += run is None
            logged.mended += run is not None
            progress.reach(finished)


def table_views(table: Table) -> list[View]:
    """A view of the means in each column, the best on top, and one of all seeds."""
    seeds = ", ".join(map(str, table.plan.seeds))
    found = []
    for column in table.columns:
        place = f"params.imbalance = '{column.imbalance:g}' and params.network = '{column.network}'"
        name = column_name(table, column)
        key = RESULTS + name.replace(" ", "-")
        found.append(View(name, key, MEANS, f"{place} and params.seeds = '{seeds}'"))
    return [*found, View("each seed", "seeds", SEEDS, "params.seed != ''")]


@remedies("run `dvc repro`")
def track(benchmark: str) -> None:
    """Log every table's rows, with curves and per-class reports, to MLflow, unless they are already there."""
    plan = read_tables_plan(paths.tables_plan(benchmark))
    layouts = read_layouts().of(benchmark)
    reports, failures = read_reports(
        plan, partial(paths.cell_report, benchmark), partial(paths.model, benchmark)
    )
    cells = cell_records(plan, reports, failures)
    # MLflow lists the youngest experiment first: made in this order, Table 1 stands above Table 5
    pages = {}
    for layout in reversed(layouts.tables):
        table = fill(layout, plan, reports, failures)
        words = {"title": layout.title, "caption": layout.caption, "reference": layout.reference.label}
        # likewise the youngest run: seeds first, means above them
        records = seed_records(table, reports, failures, cells) + mean_records(table, cells)
        pages[f"{benchmark} · Table {layout.number}"] = Page(
            PAGE.format(**words), table_views(table), records
        )
    pages[f"{benchmark} · Tables and figures"] = Page(
        REPORTS_PAGE,
        [View("all runs", f"{RESULTS}all", REPORTS_COLUMNS)],
        [reports_record(plan, layouts, reports)],
    )
    root, address = paths.tracking_root(), server()
    place = address or str(database(root))
    console.say("track", f"{benchmark}: {len(cells)} cells in {len(layouts.tables)} tables, to {place}")
    logged = Logged()

    def log() -> None:
        with nullcontext() if address else unsynced(database(root)):
            log_missing(Tracker(root, address), pages, logged)

    with locked(root, lambda: console.say("track", "waiting for another tracking process")):
        patiently(place, log, lambda reason: console.say("track", f"waiting: {reason}"))
    total = sum(len(page.records) for page in pages.values())
    parts = [
        f"{logged.new} new",
        *([f"{logged.mended} completed"] if logged.mended else []),
        *([f"{logged.relabelled} renamed or tagged"] if logged.relabelled else []),
        f"{total - logged.new - logged.mended} already there",
    ]
    console.done("track", f"{total} runs in {len(pages)} experiments: {', '.join(parts)}; `longtail ui`")
