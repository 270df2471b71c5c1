"""One page with all results, to read in a browser: tables, claims, figures, classes and training curves."""

from pathlib import Path

from longtail.pipeline import console, options


def main(
    benchmark: options.Benchmark = "digits-lt",
    partial: options.Partial = False,
    results: options.Results = Path(),
) -> None:
    """Write reports/<benchmark>/index.html, a file that needs no other; `longtail report` opens it."""
    from longtail.pipeline.page import page

    page(benchmark, partial, results)


if __name__ == "__main__":
    console.run(main)
