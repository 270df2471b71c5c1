"""The page: opened from disk in a headless Chromium, and clicked."""

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from longtail.pipeline import paths
from longtail.reporting.comparisons import judge, paired_difference
from longtail.reporting.page.inline import inline_svg, note
from longtail.reporting.page.interval_bars import interval_bars, reach
from tests.support import report_fixtures as fixtures
from tests.support.chromium import Browser
from tests.support.stage_runs import run_stage, run_stages

NASTY = ["<b>bold</b>", "a & b", 'quo"te', "it's", "$x$", "</script><script>alert(1)</script>", "{{ 7 * 7 }}"]
FAILURE = "loss is nan <i>"


def index(folder: Path) -> Path:
    return folder / paths.report(fixtures.BENCHMARK, "index.html")


def rename_classes(folder: Path, names: list[str]) -> None:
    """Give the first classes of every trained cell other names."""
    for path in (folder / "models").rglob("cell.json"):
        cell = json.loads(path.read_text())
        cell["class_names"][: len(names)] = names
        path.write_text(json.dumps(cell))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study with class names that HTML must escape and a failed cell, and its page."""
    folder = tmp_path_factory.mktemp("study")
    plans = fixtures.build(folder, variants=fixtures.SOME)
    rename_classes(folder, NASTY)
    fixtures.fail(folder, "cdb_ce", "seed1", FAILURE)
    fixtures.evaluate(folder, plans)
    run_stages(folder, "plot", "page")
    return folder


@pytest.fixture(scope="module")
def shared(folder: Path) -> Iterator[Browser]:
    with Browser("--window-size=1280,900") as browser:
        yield browser


@pytest.fixture
def browser(folder: Path, shared: Browser) -> Iterator[Browser]:
    """The page as it is first seen; in the end no error was said and nothing was asked for but the file."""
    shared.errors.clear()
    shared.requests.clear()
    shared.open(index(folder))
    yield shared
    shared.run("new Promise((done) => setTimeout(done, 100))")
    assert shared.errors == []
    asked = {address for address in shared.requests if not address.startswith("data:")}
    assert asked == {index(folder).resolve().as_uri()}


ROWS = "[...document.querySelectorAll('#table1 tbody tr[data-row]')]"
HEADINGS = "[...document.querySelectorAll('#table1 thead th')]"


def shown_rows(browser: Browser) -> list[str]:
    return browser.run(f"{ROWS}.filter((row) => row.offsetHeight).map((row) => row.dataset.row)")


def column(browser: Browser, heading: str) -> list[float | None]:
    """The numbers in a column of Table 1, by the place of its heading, in the order shown."""
    return browser.run(
        f"(() => {{ const place = document.querySelector({json.dumps(heading)}).cellIndex;"
        f"return {ROWS}.map((row) => row.cells[place].dataset.value ?? null)"
        ".map((text) => text === null ? null : Number(text)); })()"
    )


ALL = "#table1 th[data-kind=here][data-split=all][data-imbalance='50']"


def test_headings_sort_by_mouse_and_keyboard(browser: Browser) -> None:
    paper, first = column(browser, ALL), shown_rows(browser)
    numbers = [value for value in paper if value is not None]
    empty: list[float | None] = [None] * (len(paper) - len(numbers))
    assert len(numbers) > 5
    assert len(empty) > 5
    browser.click(f"{ALL} button")
    assert column(browser, ALL) == sorted(numbers, reverse=True) + empty
    assert browser.run(f"document.querySelector({json.dumps(ALL)}).ariaSort") == "descending"
    browser.press("Enter", 13, "\r")  # the clicked button has the focus
    assert column(browser, ALL) == sorted(numbers) + empty
    browser.press("Enter", 13, "\r")
    assert column(browser, ALL) == paper
    browser.click("#table1 thead .name button")
    assert shown_rows(browser) == sorted(first, key=str.lower)


def test_headings_of_groups_do_not_hinder_sorting(browser: Browser) -> None:
    """With numbers in every row, in a hundred orders; few rows of the fixture have numbers."""
    orders = browser.run(
        "(() => { const button = document.querySelector('#table1 th:nth-child(2) button');"
        "return [...Array(100).keys()].map((factor) => {"
        f"{ROWS}.forEach((row, index) => {{ row.cells[1].dataset.value = (index * (factor + 1)) % 101; }});"
        f"button.click(); const found = {ROWS}.map((row) => Number(row.cells[1].dataset.value));"
        "button.click(); button.click(); return found; }); })()"
    )
    assert len(orders) == 100
    for order in orders:
        assert len(order) > 30
        assert order == sorted(order, reverse=True)


def test_filters_choose_columns_and_rows(browser: Browser) -> None:
    visible = (
        f"{HEADINGS}.filter((one) => one.dataset.kind && one.offsetHeight)"
        ".map((one) => [one.dataset.imbalance, one.dataset.split, one.dataset.kind])"
    )
    both = [["all", "here"], ["all", "difference"], ["many", "here"], ["medium", "here"], ["few", "here"]]
    assert browser.run(visible) == [[imbalance, *rest] for imbalance in ("50", "10") for rest in both]
    browser.choose("#table1 [name=imbalance]", "10")
    browser.choose("#table1 [name=split]", "few")
    assert browser.run(visible) == [["10", "few", "here"], ["10", "few", "difference"]]
    browser.choose("#table1 [name=group]", "decoupled learning")
    browser.choose("#table1 [name=text]", "ours +")
    assert shown_rows(browser) == ["Ours + cRT", "Ours + LWS", "Ours + LAS"]
    assert browser.run("document.querySelector('#table1 output').textContent").startswith("3 of ")


def test_a_table_is_never_sorted_by_a_hidden_column(browser: Browser) -> None:
    paper = shown_rows(browser)
    browser.click(f"{ALL} button")
    assert shown_rows(browser) != paper
    browser.choose("#table1 [name=imbalance]", "10")
    assert shown_rows(browser) == paper


def test_every_class_plot_has_a_line_for_each_chosen_method(browser: Browser) -> None:
    def lines(section: str) -> Any:
        return browser.run(f"document.querySelectorAll('#{section} .chart path:not(.seed)').length")

    def legend(section: str) -> Any:
        return browser.run(
            f"[...document.querySelectorAll('#{section} .legend li')].map((one) => one.textContent)"
        )

    for section in ("classes", "curves"):
        assert legend(section) == ["Ours", "Cross-entropy"]
        assert lines(section) == 2
        browser.click(f"#{section} .chooser label:not([hidden]) input:not(:checked)")
        assert lines(section) == 3
        browser.click(f"#{section} .chooser label:not([hidden]) input:checked")
        assert lines(section) == 2
    points = titles(browser, "circle:not(.seed)")
    assert len(points) == 2 * fixtures.CLASSES
    for name in NASTY:
        assert sum(f", {name} (n = " in point for point in points) == 2, name
    browser.choose("#curves [name=quantity]", "1")  # entropy: cross-entropy has none
    assert "Cross-entropy" not in legend("curves")
    browser.choose("#classes [name=quantity]", "differences")
    assert "± " in titles(browser, "circle:not(.seed)")[0]


def titles(browser: Browser, points: str) -> list[str]:
    """What the points of the chart of classes say."""
    return browser.run(
        f"[...document.querySelectorAll('#classes {points} title')].map((one) => one.textContent)"
    )


def test_the_seeds_are_small_points_around_their_mean(browser: Browser) -> None:
    def numbers(points: str, row: str) -> list[float]:
        said = [text.rpartition(": ") for text in titles(browser, points)]
        return [float(number.split()[0]) for text, _, number in said if text.startswith(f"{row},")]

    for quantity, rows in (("accuracy", ["Ours", "Cross-entropy"]), ("differences", ["Ours"])):
        browser.choose("#classes [name=quantity]", quantity)
        assert len(titles(browser, "circle.seed")) == 3 * fixtures.CLASSES * len(rows)
        for row in rows:
            # points lie by size, seeds by class: classes of the fixture have their sizes in this order
            seeds = np.array(numbers("circle.seed", row)).reshape(3, fixtures.CLASSES)
            assert (seeds[0] != seeds[1]).any()
            assert seeds.mean(axis=0) == pytest.approx(numbers("circle:not(.seed)", row), abs=0.1)
    assert "small points" in browser.run("document.querySelector('#classes .about').textContent")


def test_the_seeds_are_thin_curves_around_their_mean(browser: Browser) -> None:
    shapes = "[...document.querySelectorAll('#curves .chart path%s')].map((one) => one.getAttribute('d'))"

    def heights(path: str) -> list[float]:
        return [float(point.split()[1]) for point in re.split("[ML]", path)[1:]]

    means, seeds = (browser.run(shapes % which) for which in (":not(.seed)", ".seed"))
    assert (len(means), len(seeds)) == (2, 6)
    for index, mean in enumerate(means):
        own = np.array([heights(path) for path in seeds[3 * index : 3 * index + 3]])
        assert len(heights(mean)) == fixtures.EPOCHS + 1
        assert np.ptp(own, axis=0).max() > 1
        assert own.mean(axis=0) == pytest.approx(heights(mean), abs=0.2)


def test_no_interval_of_accuracies_is_drawn_beyond_100() -> None:
    difference = paired_difference({1: 91.0, 2: 20.0}, {1: 10.0, 2: 5.0})  # 48 ± 419.3
    (judged,) = judge([difference])
    assert judged is not None
    assert reach([judged], 100) == 100
    assert reach([judged], math.inf) == pytest.approx(48 + 12.7062047 * 33)
    assert 'd="M4.0 12.0H156.0"' in interval_bars([judged], 100, 100, 24)
    half = interval_bars([judged], 200, 100, 24)
    assert 'd="M42.0 12.0H118.0"' in half
    assert 'cx="98.2"' in half


def test_a_claim_draws_an_interval_for_every_comparison_that_was_run(browser: Browser) -> None:
    counts = browser.run(
        "[...document.querySelectorAll('.claim')].map((claim) => ["
        "claim.querySelectorAll('summary .interval circle').length,"
        "claim.querySelectorAll('td .interval circle').length,"
        "[...claim.querySelectorAll('td:nth-child(3)')]"
        ".filter((one) => /[0-9]/.test(one.textContent)).length])"
    )
    assert all(first == second == third for first, second, third in counts)
    assert sum(first for first, *_ in counts) > 20
    colours = browser.run(
        "[...document.querySelectorAll('.claim summary .interval g')]"
        ".map((one) => [one.getAttribute('class'), getComputedStyle(one).color])"
    )
    assert len({colour for word, colour in colours if word == "better"}) == 1
    assert {word for word, _ in colours} > {"undecided"}


def test_the_forest_has_a_row_for_every_difference(browser: Browser) -> None:
    texts = "[...document.querySelectorAll('.forest [role=listitem] .text')].map((one) => one.textContent)"
    difference = ALL.replace("here", "difference")
    in_table = [value for value in column(browser, difference) if value is not None]
    assert len(browser.run(texts)) == len(in_table) > 5
    browser.click("#differences [name=sorted]")
    means = [float(text.split()[0]) for text in browser.run(texts)]
    assert means == sorted((round(value, 1) for value in in_table), reverse=True)
    browser.choose("#differences [name=table]", "3")
    assert "#9 Ours" in browser.run("document.querySelector('#differences .about').textContent")


def test_text_from_the_data_is_text(browser: Browser) -> None:
    assert browser.run("document.querySelectorAll('script').length") == 2
    failed = browser.run("document.querySelector('#failed tbody').innerText")
    assert "imb50-cdb_ce-seed1" in failed
    assert FAILURE in failed


@pytest.mark.parametrize("width", [400, 1280])
def test_the_page_is_no_wider_than_the_screen(browser: Browser, width: int) -> None:
    metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    browser.call("Emulation.setDeviceMetricsOverride", **metrics)
    try:
        assert browser.run("document.documentElement.scrollWidth") <= width
    finally:
        browser.call("Emulation.clearDeviceMetricsOverride")


def test_the_browser_tells_of_errors_and_requests(folder: Path, shared: Browser, tmp_path: Path) -> None:
    """Otherwise the checks of every test above could not fail."""
    bad = tmp_path / "bad.html"
    bad.write_text("<img src='gone.png'><script>missing()</script>", encoding="utf-8")
    shared.errors.clear()
    shared.requests.clear()
    shared.open(bad)
    shared.run("new Promise((done) => setTimeout(done, 100))")
    assert any("missing" in error for error in shared.errors)
    assert any(address.endswith("gone.png") for address in shared.requests)


def test_the_page_names_no_other_machine_and_is_the_same_again(folder: Path) -> None:
    before = index(folder).read_bytes()
    assert b"://" not in before
    assert len(before) < 5_000_000
    assert run_stage(folder, "page").code == 0
    assert index(folder).read_bytes() == before


def test_a_figure_that_is_missing_or_damaged_is_named(folder: Path) -> None:
    path = folder / paths.report(fixtures.BENCHMARK, "figure2.svg")
    kept = path.read_text(encoding="utf-8")
    try:
        path.write_text(kept[: len(kept) // 2], encoding="utf-8")
        assert "figure2.svg: not a whole svg" in run_stage(folder, "page").stderr
        path.unlink()
        result = run_stage(folder, "page")
        assert result.code == 2
        assert "figure2.svg" in result.stderr
    finally:
        path.write_text(kept, encoding="utf-8")


def test_report_prints_the_path_of_the_page(folder: Path, tmp_path: Path) -> None:
    result = run_stage(folder, "report", "--no-open")
    assert (result.code, result.stdout.strip()) == (0, "reports/digits-lt/index.html")
    missing = run_stage(tmp_path, "report", "--no-open")
    assert missing.code == 2
    assert "stages.page --benchmark digits-lt" in missing.stderr


def test_report_opens_the_page(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    monkeypatch.setattr("webbrowser.open", lambda address: opened.append(address) or True)
    assert run_stage(folder, "report").code == 0
    assert opened == [index(folder).resolve().as_uri()]


def test_notes_know_code_and_marks_alone() -> None:
    assert note(r"\*: `a<b>` & c") == "*: <code>a&lt;b&gt;</code> &amp; c"


def test_two_figures_share_no_id() -> None:
    svg = (
        '<?xml version="1.0"?>\n<svg viewBox="0 0 72 36" id="x"><!-- a --><style>*{}</style>'
        '<defs><path id="p"/></defs><use xlink:href="#p" clip-path="url(#p)"/></svg>'
    )
    first = inline_svg(svg, "a")
    assert 'id="a-p"' in first
    assert 'href="#a-p" clip-path="url(#a-p)"' in first
    assert "style>" not in first
    assert "<!--" not in first
