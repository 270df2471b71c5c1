"""How fast a machine trains each network, as `longtail doctor` measured it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from statistics import fmean

from pydantic import ValidationError

from longtail.config.records import Frozen
from longtail.errors import InputError, one_line
from longtail.files import read_object, write_json
from longtail.planning.plans import PlannedTraining
from longtail.running.pace import Pace, image_passes


class Speeds(Frozen):
    """Seconds that one image's pass takes in a training, by network and method; see `image_passes`."""

    device: str
    hardware: str
    torch: str
    date: str
    seconds_per_pass: dict[str, dict[str, float]]

    def write(self, path: Path) -> None:
        """Write them to `path`."""
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, self.model_dump())

    def pace(self, works: Iterable[PlannedTraining]) -> Pace:
        """The iterations of `works` whose network was measured.

        An image's pass of a method that was not takes the mean time of the methods that were.
        """
        pace = Pace()
        for work in works:
            network = self.seconds_per_pass.get(work.plan.network, {})
            if network:
                own = network.get(work.method, fmean(network.values()))
                pace.measure(work, own * image_passes(work) * work.training.iterations, 0.0)
        return pace

    def knows(self, work: PlannedTraining) -> bool:
        """Whether the network of `work` was measured."""
        return bool(self.seconds_per_pass.get(work.plan.network))


def read_speeds(path: Path) -> Speeds | None:
    """The speeds in `path`; None if nothing was measured. Raises InputError."""
    if not path.is_file():
        return None
    try:
        return Speeds.model_validate(read_object(path))
    except ValidationError as error:
        raise InputError(path, one_line(error), "run `longtail doctor` again") from None
