"""On what, with what and when something was measured."""

import os
import platform
from datetime import date

import torch

from longtail.pipeline.devices import processor


def described() -> str:
    """Processor, number of cores, versions and today's date, for a result's first line."""
    return (
        f"{processor()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"torch {torch.__version__}, {date.today():%Y-%m-%d}"
    )
