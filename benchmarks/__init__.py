"""What the library costs: each module is a command, `python -m benchmarks.<name>`."""
