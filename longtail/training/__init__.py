"""The one training loop: trainer, batches, samplers, schedules, optimiser, histories."""
