"""The address of the cluster's scheduler, and who may reach it."""

from __future__ import annotations

import ipaddress
import logging
import re
import sys
from typing import TYPE_CHECKING

from longtail.errors import InputError

if TYPE_CHECKING:
    from distributed import Security

CLUSTER = "LONGTAIL_CLUSTER"
"""An environment variable: the address of a scheduler, whose workers then train the cells of all stages."""

INSECURE = "LONGTAIL_CLUSTER_INSECURE"
"""An environment variable: if it is 1, that address may be an unencrypted one outside this machine."""

LOCAL = "tcp://127.0.0.1:8786"
"""The default: nobody outside this machine reaches it."""

OPEN = "not encrypted: whoever reaches this port can run code as you"


def check_address(address: str, insecure: bool) -> None:
    """Refuse what is no address, and one that strangers could reach; if `insecure`, warn of them only.

    Raises InputError.
    """
    found = re.fullmatch(r"(tcp|tls)://(\[[0-9a-fA-F:]+\]|[^\s/:\[\]]+):\d{1,5}", address)
    if found is None:
        raise InputError(address, "not the address of a scheduler", "give tcp://HOST:PORT or tls://HOST:PORT")
    scheme, host = found.groups()
    if scheme == "tls" or _is_loopback(host.strip("[]")):
        return
    if not insecure:
        remedy = f"use tls:// (docs/cluster.md), or, in a network you trust, --insecure or {INSECURE}=1"
        raise InputError(address, OPEN, remedy)
    print(f"warning: {address}: {OPEN}", file=sys.stderr, flush=True)


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name
        return False


def security(address: str) -> Security | None:
    """The certificates that Dask's configuration names, for a tls:// address.

    Raises InputError if `distributed` or a certificate is missing.
    """
    try:
        from distributed import Security
    except ImportError:
        raise InputError(
            address, "needs Dask's `distributed`", "install it: pip install 'longtail[cluster]'"
        ) from None
    for name in list(logging.root.manager.loggerDict):
        if name.startswith("distributed"):  # what it says of lost connections, we say in one line
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    if address.startswith("tcp://"):
        return None
    try:
        found = Security(require_encryption=True)
        for role in ("client", "worker"):
            found.get_connection_args(role)
    except (OSError, TypeError, ValueError, RuntimeError) as error:
        problem = " ".join(str(error).split())
        raise InputError(address, f"no certificates ({problem})", "docs/cluster.md makes them") from None
    if not found.tls_ca_file:
        variable = "DASK_DISTRIBUTED__COMM__TLS__CA_FILE"
        raise InputError(address, f"no certificates: {variable} is not set", "docs/cluster.md makes them")
    return found
