"""Text from the data in figures: as it is, never as mathematics, in a font that has its glyphs."""

import warnings
from dataclasses import replace
from pathlib import Path

import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import font_manager
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from longtail.config.layouts import read_layouts
from longtail.reporting import figures
from longtail.reporting.figures.words import FONT, boxes, fonts_for, literal
from longtail.reporting.study import Study
from tests.reporting.test_figures import read, records
from tests.support import report_fixtures as fixtures
from tests.support.names import NAMES

LAYOUTS = {layout.number: layout for layout in read_layouts().figures}


def displayed(text: str) -> tuple[str, object]:
    """What matplotlib shows for `text`, and whether it reads it as mathematics."""
    return Text(0, 0, text)._preprocess_math(text)  # type: ignore[attr-defined]


@given(st.text(st.characters(codec="utf-8"), max_size=60))
def test_no_text_is_read_as_mathematics_and_all_of_it_is_shown(name: str) -> None:
    shown, parsed = displayed(literal(name, 100))
    assert parsed is False
    printable = "".join(" " if not (char.isprintable() or char > "\x9f") else char for char in name)
    assert "".join(shown.split()) == "".join(printable.split())


def test_a_long_name_is_cut_and_a_dollar_counts_as_one_character() -> None:
    assert displayed(literal("a$" * 100, 6))[0] == "a$a$a…"
    assert literal("six $s", 6) == r"six \$s"
    assert displayed("$^$")[1] is True  # without it matplotlib would parse, and fail


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Study:
    folder = tmp_path_factory.mktemp("named")
    fixtures.evaluate(folder, fixtures.build(folder, variants=fixtures.SOME))
    study = read(folder)
    reports = [report.model_copy(update={"class_names": list(NAMES)}) for report in study.reports]
    courses = {report.cell: replace(study.courses[report.cell], report=report) for report in reports}
    return Study(study.plan, reports, courses)


@pytest.mark.parametrize("number", LAYOUTS)
def test_all_class_names_are_drawn_within_the_figure_and_whole_in_its_csv(named: Study, number: int) -> None:
    drawing = figures.draw(LAYOUTS[number], named)
    canvas = FigureCanvasAgg(drawing.figure)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of missing glyphs
        canvas.draw()
    page = drawing.figure.bbox
    texts = [text for text in drawing.figure.findobj(Text) if text.get_text() and text.get_visible()]
    for text in texts:
        box = text.get_window_extent(canvas.get_renderer())
        if page.overlaps(box):
            assert box.x0 >= -1, text
            assert box.x1 <= page.x1 + 1, text
            assert box.y0 >= -1 or number == 3, text  # a tick beyond the log axis is not drawn
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = figures.render(drawing)
    assert made["png"].startswith(b"\x89PNG")
    shown = {displayed(text.get_text())[0] for text in texts}
    if number == 2:
        assert {name if len(name) <= 20 else name[:19] + "…" for name in NAMES} <= shown
        assert {row["class_name"] for row in records(drawing)} == set(NAMES)


def font(path: Path, family: str, characters: str) -> None:
    """A font with a square for each of these characters."""
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for corner in ((0, 500), (500, 500), (500, 0)):
        pen.lineTo(corner)
    pen.closePath()
    square = pen.glyph()
    names = [".notdef", *(f"u{ord(character):04X}" for character in characters)]
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder(names)
    builder.setupCharacterMap(
        {ord(character): name for character, name in zip(characters, names[1:], strict=True)}
    )
    builder.setupGlyf(dict.fromkeys(names, square))
    builder.setupHorizontalMetrics(dict.fromkeys(names, (600, 0)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": family, "styleName": "Regular"})
    builder.setupOS2(usWeightClass=400)
    builder.setupPost()
    builder.save(path)


def test_a_font_that_was_installed_later_is_taken_for_the_glyphs_that_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken.ttf").write_bytes(b"no font")
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [str(tmp_path / "broken.ttf")])
    monkeypatch.setattr(font_manager.fontManager, "ttflist", list(font_manager.fontManager.ttflist))
    plane = "\U000f0001\U000f0002\U000f0003"  # for private use: no real font has them
    assert fonts_for(["plain"]) == fonts_for([plane]) == [FONT]
    assert boxes([plane, "plain \n\u200d\ufe0f"]) == list(plane)
    for family, characters in (("Few", plane[:1]), ("Most", plane[:2]), ("Other", "日")):
        font(tmp_path / f"{family}.ttf", family, characters)
    monkeypatch.setattr(
        font_manager, "findSystemFonts", lambda: [str(path) for path in tmp_path.glob("*.ttf")]
    )
    assert fonts_for([plane, "plain"]) == [FONT, "Most"]
    assert boxes([plane]) == [plane[2]]


def test_the_font_that_is_taken_draws_the_names(
    named: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = [entry for entry in font_manager.fontManager.ttflist if "matplotlib" in entry.fname]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", ours)
    monkeypatch.setattr(font_manager, "findSystemFonts", list)
    special = "".join(boxes(named.class_names))
    with pytest.warns(UserWarning, match="Glyph .* missing"):
        FigureCanvasAgg(figures.draw(LAYOUTS[2], named).figure).draw()
    font(tmp_path / "Squares.ttf", "Squares", special)
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [str(tmp_path / "Squares.ttf")])
    assert boxes(named.class_names) == []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        FigureCanvasAgg(figures.draw(LAYOUTS[2], named).figure).draw()
