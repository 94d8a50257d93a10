"""Whether a server can be reached, answered within seconds."""

from __future__ import annotations

import os
import socket
import threading
import urllib.request
from urllib.parse import urlsplit

SECONDS = 3.0


def offline_wish() -> str | None:
    """The environment's wish to stay offline, e.g. ``HF_HUB_OFFLINE=1``, or None."""
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        if os.environ.get(name, "").upper() in {"1", "ON", "YES", "TRUE"}:
            return f"{name}={os.environ[name]}"
    return None


def is_reachable(url: str, *, seconds: float = SECONDS) -> bool:
    """Whether a connection to a server, or to the proxy that stands before it, can be opened.

    Args:
        url: An address at the server.
        seconds: The longest time that an answer may take, the look-up of the name included.
    """
    wanted = urlsplit(url)
    proxy = urllib.request.getproxies().get(wanted.scheme)
    if proxy and not urllib.request.proxy_bypass(wanted.hostname or ""):
        wanted = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    address = (wanted.hostname or "", wanted.port or (443 if wanted.scheme == "https" else 80))
    opened = threading.Event()

    def connect() -> None:
        try:
            socket.create_connection(address, timeout=seconds).close()
        except OSError:
            return
        opened.set()

    # A thread, since looking up a name without a network may block for longer than any timeout.
    attempt = threading.Thread(target=connect, daemon=True)
    attempt.start()
    attempt.join(seconds)
    return opened.is_set()
