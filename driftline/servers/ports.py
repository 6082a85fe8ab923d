"""Ports for private servers."""

from __future__ import annotations

import random
import socket
from pathlib import Path

__all__ = ["free_port"]

_LOWEST = 10_000
_LINUX_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_IANA_LOWEST = 49_152


def free_port() -> int:
    """Return a port on 127.0.0.1 that nobody listens on, below the range of outgoing connections.

    A port from that range could be taken by a client's own connection while its server is being
    restarted (on loopback even by the client that is trying to reach it), so those are left out.
    """
    try:
        highest = int(_LINUX_RANGE.read_text(encoding="ascii").split()[0])
    except (OSError, ValueError):
        highest = _IANA_LOWEST
    candidates = range(_LOWEST, highest) if highest - _LOWEST > 1000 else range(_LOWEST, 65_536)
    draw = random.SystemRandom()
    while True:
        port = draw.choice(candidates)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
