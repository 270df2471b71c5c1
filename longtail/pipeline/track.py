"""Tables as MLflow experiments: which runs there should be, and logging those that are missing."""

from dataclasses import dataclass
from functools import partial

from longtail.config.layouts import read_layouts
from longtail.pipeline import console, paths
from longtail.pipeline.records import cell_records, reports_record, table_records
from longtail.pipeline.remedies import remedies
from longtail.pipeline.revision import code_tags
from longtail.pipeline.tracking import Record, Tracker, database, locked, patiently, server
from longtail.planning.plans import read_tables_plan
from longtail.reporting.reports import read_reports

PAGE = """{title}. One run per row, column and seed; `acc_...` and `ece` are percent on the test images.

{caption}"""
REPORTS_PAGE = (
    "The tables and figures as files: open a run, then Artifacts. One run for each distinct set of them."
)
COLUMNS = (
    *(f"metrics.`{name}`" for name in ("acc_all", "acc_many", "acc_medium", "acc_few", "ece")),
    *(f"params.`{name}`" for name in ("row", "imbalance", "seed", "lambda")),
)
REPORTS_COLUMNS = tuple(f"params.`{name}`" for name in ("lambda", "imbalances", "seeds", "shot_groups"))


@dataclass(frozen=True)
class Page:
    """An experiment: what it says of itself, the columns of its table of runs, its runs."""

    description: str
    columns: tuple[str, ...]
    records: list[Record]


@dataclass
class Logged:
    """How many runs are new, and how many had been cut short and are completed."""

    new: int = 0
    mended: int = 0


def log_missing(tracker: Tracker, pages: dict[str, Page], logged: Logged) -> None:
    """Log what is not there yet, and count it; called again after a failure, it takes up what it left."""
    missing = []
    for name, page in pages.items():
        experiment = tracker.experiment(name, page.description, page.columns)
        known = tracker.runs(experiment, tuple(page.records[0].identity)) if page.records else {}
        for record in page.records:
            run = known.get(tuple(record.identity.values()))
            if run is None or run.info.status != record.status:
                missing.append((experiment, record, run))
    code = code_tags()
    with console.progress("track", len(missing), "runs") as progress:
        for finished, (experiment, record, run) in enumerate(missing, start=1):
            tracker.log(experiment, record, code, run)
            logged.new += run is None
            logged.mended += run is not None
            progress.reach(finished)


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
    pages = {
        f"{benchmark} · Table {layout.number}": Page(
            PAGE.format(title=layout.title, caption=layout.caption),
            COLUMNS,
            table_records(layout, plan, reports, failures, cells),
        )
        for layout in reversed(layouts.tables)
    }
    pages[f"{benchmark} · Tables and figures"] = Page(
        REPORTS_PAGE, REPORTS_COLUMNS, [reports_record(plan, layouts, reports)]
    )
    root, address = paths.tracking_root(), server()
    place = address or str(database(root))
    console.say("track", f"{benchmark}: {len(cells)} cells in {len(layouts.tables)} tables, to {place}")
    logged = Logged()
    with locked(root, lambda: console.say("track", "waiting for another tracking process")):
        patiently(
            place,
            lambda: log_missing(Tracker(root, address), pages, logged),
            lambda reason: console.say("track", f"waiting: {reason}"),
        )
    total = sum(len(page.records) for page in pages.values())
    parts = [
        f"{logged.new} new",
        *([f"{logged.mended} completed"] if logged.mended else []),
        f"{total - logged.new - logged.mended} already there",
    ]
    console.done("track", f"{total} runs in {len(pages)} experiments: {', '.join(parts)}; `longtail ui`")
