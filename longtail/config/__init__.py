"""What a user chooses and what a benchmark fixes: params.yaml, benchmarks, layouts of tables, presets."""
