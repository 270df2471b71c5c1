"""What stages and commands share: console, paths, devices, inputs, the scheduler, tracking."""
