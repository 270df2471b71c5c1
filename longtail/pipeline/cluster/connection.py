"""A client of the cluster's scheduler."""

from __future__ import annotations

import platform
from typing import Any

from longtail.errors import InputError, flat
from longtail.pipeline.cluster.addresses import check_address, security

CONNECT = 10.0
"""Seconds to wait for the scheduler."""


def connect(address: str, insecure: bool) -> Any:
    """A client of the scheduler at `address`. Raises InputError."""
    check_address(address, insecure)
    own = security(address)
    from distributed import Client

    try:
        client = Client(address, security=own, timeout=CONNECT, set_as_default=False)
    except OSError as error:
        host = platform.node()
        raise InputError(
            address, f"no scheduler answers on {host} ({flat(error)})", "start one: `dask scheduler`"
        ) from None
    try:
        # it may be reached at a loopback address, and listen to everyone
        listens = client.scheduler_info(n_workers=0)["address"]
        if listens != address:
            check_address(listens, insecure)
    except BaseException:
        client.close(timeout=1)
        raise
    return client
