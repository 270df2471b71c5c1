"""`longtail doctor`: what this machine can do, and how long the paper's tables would take on it."""

from longtail.pipeline import options


def main(device: options.Device = "auto", jobs: options.Jobs = 0) -> None:
    """Check this machine, and how long the tables take on it.

    It takes about a minute: versions, devices, replayed iterations against plain ones, determinism, decoding,
    free disk; milliseconds an iteration of each network. `reproduce --dry-run` uses the speeds, which are
    kept in work/.
    """
    from longtail.pipeline.doctor import examine

    examine(device, jobs)
