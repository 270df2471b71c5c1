"""The page: all results of a benchmark in one HTML file that opens from disk, without a network."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from longtail.config.layouts import Layouts
from longtail.reporting.claims import JudgedClaim
from longtail.reporting.page.charts import chart_data
from longtail.reporting.page.claims_part import claim_parts
from longtail.reporting.page.headline import headline
from longtail.reporting.page.inline import inline_svg, note
from longtail.reporting.page.tables_part import table_part
from longtail.reporting.reports import FailedReport
from longtail.reporting.study import Study
from longtail.reporting.table_text import symbols
from longtail.reporting.tables import Table

SCRIPTS = ("tables.js", "forest.js", "lines.js")


def page(
    study: Study,
    failures: Sequence[FailedReport],
    tables: Sequence[Table],
    judged: Sequence[JudgedClaim],
    layouts: Layouts,
    svgs: Mapping[int, str],
) -> str:
    """The page as HTML; the same results give the same text.

    `study` has the histories of all its reports, `layouts` names the rows, `svgs` are the figures by number.
    """
    environment = Environment(
        loader=PackageLoader("longtail.reporting.page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["note"] = note
    environment.filters["symbols"] = lambda text: symbols(text).replace("\\", "")
    script = "\n".join(read_asset(name) for name in SCRIPTS)
    figures = [figure for figure in layouts.figures if figure.number in svgs]
    return environment.get_template("page.html.jinja").render(
        plan=study.plan,
        headline=headline(study, failures, tables, judged),
        tables=[table_part(table) for table in tables],
        claims=claim_parts(judged, study.plan, layouts),
        figures=[
            (figure, Markup(inline_svg(svgs[figure.number], f"figure{figure.number}"))) for figure in figures
        ],
        failures=failures,
        charts=chart_data(study, failures, tables, layouts),
        style=Markup(read_asset("style.css")),
        script=Markup(script),
        script_sha256=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def read_asset(name: str) -> str:
    """A file of the templates as it is."""
    return (files(__name__) / "templates" / name).read_text(encoding="utf-8")
