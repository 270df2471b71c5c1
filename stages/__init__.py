"""The stages of the pipeline, one file each, in the order the data flows."""
