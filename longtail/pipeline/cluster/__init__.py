"""Cells on many machines, by Dask's `distributed`: a scheduler, workers, and a client that is an executor."""
