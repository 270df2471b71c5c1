"""Images that stay files: decoded in other processes while the training runs."""
