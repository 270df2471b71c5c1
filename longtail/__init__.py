"""Long-tailed recognition: Difficulty-Net, the methods it is compared with, and what proves them.

Nothing here knows of DVC, MLflow or the command line; the stages of the pipeline do.
"""
