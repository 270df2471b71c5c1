"""One training, from its job to the folder of its cell."""
