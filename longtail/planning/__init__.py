"""From params.yaml to everything that decides each cell, and its fingerprint."""
