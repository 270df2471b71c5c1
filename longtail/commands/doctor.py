"""`longtail doctor`: what this machine can do, and how long the paper's tables would take on it."""

from longtail.pipeline import options


def main(device: options.Device = "auto", jobs: options.Jobs = 0) -> None:
    """Check this machine in about a minute, and measure how long the tables would take here.

    Versions, devices, replayed iterations against plain ones, determinism, decoding, free disk; milliseconds
    an iteration of each network. `reproduce --dry-run` uses the speeds, which are kept in work/.
    """
    from longtail.pipeline.doctor import examine

    examine(device, jobs)
