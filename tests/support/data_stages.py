"""What the tests of the stages that make data sets share."""

from pathlib import Path

PARAMS = "lambda: 0.3\nimbalances: {digits-lt: [50]}\nseeds: [1]\n"


def files(folder: Path) -> dict[str, bytes]:
    """Every file below, by path."""
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
