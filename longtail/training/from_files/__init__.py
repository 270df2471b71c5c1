"""Images read from files, decoded in other processes while the training runs."""
