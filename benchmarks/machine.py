"""On what, with what and when something was measured."""

from __future__ import annotations

import os
import platform
from datetime import date
from pathlib import Path

import torch


def described() -> str:
    """Processor, number of cores, versions and today's date, for a result's first line."""
    return (
        f"{_processor()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"torch {torch.__version__}, {date.today():%Y-%m-%d}"
    )


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
