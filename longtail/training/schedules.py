"""Learning rates as functions of the iteration."""

import math

from longtail.config.training import Steps, Training


def learning_rate(training: Training, iteration: int, batches_per_epoch: int) -> float:
    """The learning rate of `iteration` (from 0); see `longtail.config.training`."""
    schedule = training.schedule
    if isinstance(schedule, Steps):
        rate = schedule.peak
        if iteration < schedule.warmup:
            rate = schedule.start + (schedule.peak - schedule.start) * iteration / schedule.warmup
        return rate * schedule.factor ** sum(iteration >= milestone for milestone in schedule.milestones)
    epochs = -(-training.iterations // batches_per_epoch)
    epoch = iteration // batches_per_epoch
    return schedule.peak / 2 * (1 + math.cos(math.pi * epoch / epochs))
