"""Text from the data in figures: never parsed as mathematics, and in a font that has its glyphs."""

import unicodedata
from collections.abc import Iterable
from pathlib import Path

from matplotlib import font_manager
from matplotlib.font_manager import FontEntry

FONT = "DejaVu Sans"
"""The font of all figures; matplotlib brings it."""


def literal(name: str, most: int) -> str:
    """`name` in at most `most` characters, one line, with every `$` as matplotlib shows it."""
    line = " ".join("".join(map(_visible, name)).split())
    short = line if len(line) <= most else f"{line[: most - 1]}…"
    return short.replace("$", r"\$")


def _visible(character: str) -> str:
    kind = unicodedata.category(character)
    return " " if kind in ("Cc", "Zl", "Zp") else "\ufffd" if kind == "Cs" else character


def fonts_for(names: Iterable[str]) -> list[str]:
    """`FONT`, and installed fonts that have the glyphs of `names` that it lacks, as few as will do."""
    lacking = _lacking(names, _glyphs(font_manager.findfont(FONT)))
    chosen = [FONT]
    if not lacking:
        return chosen
    _find_new_fonts()
    offers = {entry.name: _glyphs(entry.fname) for entry in _upright()}
    while lacking:
        best = max(offers, key=lambda font: (len(lacking & offers[font]), font), default=FONT)
        if best == FONT or not lacking & offers[best]:
            break
        chosen.append(best)
        lacking -= offers[best]
    return chosen


def boxes(names: Iterable[str]) -> list[str]:
    """The characters of `names` that no installed font has, so that boxes take their places; sorted."""
    held = list(names)
    found = [_glyphs(font_manager.findfont(font)) for font in fonts_for(held)]
    return sorted(map(chr, _lacking(held, set().union(*found))))


def _lacking(names: Iterable[str], glyphs: set[int]) -> set[int]:
    """The characters of `names` that are neither among `glyphs` nor invisible."""
    characters = {_visible(character) for name in names for character in name}
    return {
        ord(character)
        for character in characters
        if ord(character) not in glyphs
        and not character.isspace()
        and unicodedata.category(character) != "Cf"
        and not 0xFE00 <= ord(character) <= 0xFE0F  # these choose between pictures and text
    }


def _glyphs(path: str | Path) -> set[int]:
    """The characters that a font has outlines for; none if it cannot be read, or has bitmaps only."""
    try:
        font = font_manager.get_font(path)
    except (OSError, RuntimeError):
        return set()
    return set(font.get_charmap()) if font.scalable else set()


def _upright() -> list[FontEntry]:
    """The fonts of text, by name; a family stands once, by the weight nearest to the normal one."""
    entries = [
        entry
        for entry in font_manager.fontManager.ttflist
        if entry.style == "normal" and not entry.name.startswith(("Last Resort", "STIX", "cm"))
    ]
    weights = font_manager.weight_dict

    def distance(entry: FontEntry) -> tuple[int, str]:
        weight = entry.weight if isinstance(entry.weight, int) else weights.get(entry.weight, 400)
        return abs(weight - 400), str(entry.fname)

    return list({entry.name: entry for entry in sorted(entries, key=distance, reverse=True)}.values())


def _find_new_fonts() -> None:
    """Tell matplotlib of fonts that were installed since it last looked."""
    known = {entry.fname for entry in font_manager.fontManager.ttflist}
    for path in font_manager.findSystemFonts():
        if path not in known:
            try:
                font_manager.fontManager.addfont(path)
            except (OSError, RuntimeError, ValueError):  # not a font, or one that FreeType cannot read
                continue
