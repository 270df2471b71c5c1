"""The histories of a benchmark's cells, read from their folders."""

from collections.abc import Sequence

from longtail.pipeline import paths
from longtail.planning.plans import TablesPlan
from longtail.reporting.reports import CellReport
from longtail.reporting.study import Course, read_course
from longtail.running.cell_folders import HISTORY


def read_courses(plan: TablesPlan, reports: Sequence[CellReport]) -> dict[str, Course]:
    """The history of the cell of each of `reports`, by its name. Raises InputError."""
    folders = {
        member.cell(bundle): paths.model(plan.benchmark, bundle.imbalance, bundle.bundle, member.member)
        for bundle in plan.bundles
        for member in bundle.members
    }
    return {report.cell: read_course(folders[report.cell] / HISTORY, report) for report in reports}
