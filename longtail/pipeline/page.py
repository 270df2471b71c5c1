"""From cell reports, histories and figures to one page."""

from functools import partial
from pathlib import Path

from longtail.config.claims import read_claims
from longtail.config.layouts import Layouts, read_layouts
from longtail.errors import InputError
from longtail.files import atomic_path
from longtail.pipeline import console, paths
from longtail.pipeline.remedies import remedies
from longtail.pipeline.studies import read_courses
from longtail.planning.plans import read_tables_plan
from longtail.reporting import tables
from longtail.reporting.claims import judge_claims
from longtail.reporting.page import page as page_text
from longtail.reporting.reports import read_reports
from longtail.reporting.study import Study

NAME = "index.html"


@remedies("run `dvc repro`")
def page(benchmark: str, incomplete: bool = False, results: Path = Path()) -> None:
    """Write the page into `results`/reports/<benchmark>. Raises InputError.

    `incomplete`: leave out cells that are missing or of another plan, and figures that are not there.
    """
    with paths.within(results):
        plan = read_tables_plan(paths.tables_plan(benchmark))
        every = read_layouts()
        layouts = every.of(benchmark)
        report_path, model_path = (partial(path, benchmark) for path in (paths.cell_report, paths.model))
        reports, failures = read_reports(plan, report_path, model_path, incomplete)
        console.say("page", f"{benchmark}: from {len(reports)} cells")
        study = Study(plan, reports, read_courses(plan, reports))
        filled = [tables.fill(layout, plan, reports, failures) for layout in layouts.tables]
        judged = judge_claims(read_claims(), study, failures)
        svgs = read_svgs(benchmark, layouts, incomplete)
        text = page_text(study, failures, filled, judged, every, svgs)
        # class names come from file names, which may hold what UTF-8 cannot
        content = text.encode("utf-8", errors="replace")
        with atomic_path(paths.report(benchmark, NAME)) as temporary:
            temporary.write_bytes(content)
    path = results / paths.report(benchmark, NAME)
    console.done("page", f"{path}: {len(content) / 1e6:.1f} MB; `longtail report` opens it")


def read_svgs(benchmark: str, layouts: Layouts, incomplete: bool) -> dict[int, str]:
    """The figures by their numbers. Raises InputError if one is missing, unless `incomplete`, or damaged."""
    found = {}
    for layout in layouts.figures:
        path = paths.report(benchmark, f"figure{layout.number}.svg")
        if incomplete and not path.is_file():
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(path, f"cannot be read ({type(error).__name__})") from None
        if "<svg" not in text or not text.rstrip().endswith("</svg>"):
            raise InputError(path, "not a whole svg")
        found[layout.number] = text
    return found
