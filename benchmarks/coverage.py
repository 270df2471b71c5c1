"""Are the intervals of differences right, and how often is "better" said where nothing differs?

    python -m benchmarks.coverage [--columns 4000] [--rows 30] [--images 360]

Simulates tables in which no row differs from the reference: accuracies of `rows` rows and a reference over
`images` test images, with a part that all rows share for each seed (spread 4 points) and a part of their own
(spread 1 point), rounded to whole images. For 3, 5 and 10 seeds it prints

- coverage: the share of 95 % intervals that hold the true difference, 0; wanted 95 ± 1 %;
- false better: the share of columns in which any row is called better; wanted at most 5 %;
- found: the share of rows called better if they are better by 2 points (power; no target).
"""

import argparse

import numpy as np

from longtail.reporting.comparisons import BETTER, Difference, judge, paired_difference

SHARED, OWN, GAIN = 4.0, 1.0, 2.0


def simulate(draws: np.random.Generator, rows: int, seeds: int, images: int, gain: float) -> list[Difference]:
    """The differences of one column to its reference."""
    shared = 60 + SHARED * draws.standard_normal(seeds)
    accuracies = shared + OWN * draws.standard_normal((rows + 1, seeds))
    accuracies[1:] += gain
    accuracies = np.round(accuracies * images / 100) * 100 / images
    reference, *others = (dict(enumerate(row)) for row in accuracies.tolist())
    found = [paired_difference(other, reference) for other in others]
    return [difference for difference in found if difference is not None]


def holds_zero(difference: Difference) -> bool:
    """Whether the interval contains 0."""
    low, high = difference.interval.low, difference.interval.high
    return low is not None and high is not None and low <= 0 <= high


def words(column: list[Difference]) -> list[str]:
    """What is said of each difference of a column."""
    return [judged.word for judged in judge(column) if judged is not None]


def report(columns: int, rows: int, images: int, seed: int) -> None:
    """Print coverage, false "better" and power."""
    print(f"{columns} columns of {rows} rows, {images} test images, seed {seed}")
    print(f"{'seeds':>5}  {'coverage':>8}  {'false better':>12}  {'found':>6}")
    for seeds in (3, 5, 10):
        draws = np.random.default_rng([seed, seeds])
        same = [simulate(draws, rows, seeds, images, 0.0) for _ in range(columns)]
        apart = [simulate(draws, rows, seeds, images, GAIN) for _ in range(columns // 10)]
        coverage = np.mean([holds_zero(found) for column in same for found in column])
        false = np.mean([BETTER in words(column) for column in same])
        power = np.mean([word == BETTER for column in apart for word in words(column)])
        print(f"{seeds:>5}  {coverage:>8.2%}  {false:>12.2%}  {power:>6.1%}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--columns", type=int, default=4000, help="simulated columns per number of seeds")
    parser.add_argument("--rows", type=int, default=30, help="rows per column")
    parser.add_argument("--images", type=int, default=360, help="test images")
    parser.add_argument("--seed", type=int, default=0, help="of the simulation")
    report(**vars(parser.parse_args()))
