"""Class names that people have, and that have meaning to some program on their way."""

NAMES = (
    "$",
    "$^$",
    "price in $ or \\$_{x}$",
    "a_b^c {d} \\frac{%s} 100 %",
    "\\",
    "日本語, ラーメン",
    "🦊 fox",
    "شاحنة صغيرة",
    "long " * 40,
    "_hidden; 'quoted' \"twice\" <b>|</b>",
)
"""Ten of them: `$` alone, a pair that is no valid mathematics, CJK, emoji, right to left, 200 characters."""
