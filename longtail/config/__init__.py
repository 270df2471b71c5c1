"""Configuration: params.yaml, benchmarks, layouts of tables and figures, presets of methods."""
