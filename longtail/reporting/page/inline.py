"""Texts and figures made for files of their own, as parts of a page."""

import re

from markupsafe import Markup, escape


def note(text: str) -> Markup:
    """A line of markdown as HTML: only `code` and escaped marks are known."""
    escaped = str(escape(re.sub(r"\\(?=[*_])", "", text)))
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", escaped))


def inline_svg(text: str, name: str) -> str:
    """An svg file of matplotlib as an element; its ids begin with `name`, so that two figures do not clash.

    What only a file needs goes: declarations, metadata, comments, and a style that would hold for the whole
    page.
    """
    start = text.index("<svg")
    found = re.search(r'viewBox="([\d.]+ [\d.]+ ([\d.]+) [\d.]+)"', text[start:])
    box, width = found.groups() if found else ("0 0 700 400", "700")
    size = f"max-width: {1.5 * float(width):.0f}px; min-width: {0.75 * float(width):.0f}px"
    body = text[text.index(">", start) + 1 :]
    for useless in (r"<metadata>.*?</metadata>", r"<!--.*?-->", r"<style.*?</style>", r"(?<=\n)\s+"):
        body = re.sub(useless, "", body, flags=re.DOTALL)
    body = re.sub(r'\bid="', f'id="{name}-', body)
    body = body.replace("url(#", f"url(#{name}-").replace('xlink:href="#', f'href="#{name}-')
    return f'<svg viewBox="{box}" style="{size}" aria-hidden="true">{body}'
