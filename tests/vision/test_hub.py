"""Whether a server can be reached, answered in time."""

from __future__ import annotations

import socket
import time

import pytest

from autotune.vision.hub import is_reachable, offline_wish


@pytest.fixture(autouse=True)
def _direct(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy of this machine stands between."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def test_a_listening_server_is_reachable_and_a_closed_port_is_not() -> None:
    """A connection decides."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert is_reachable(f"http://127.0.0.1:{port}/path")
    assert not is_reachable(f"http://127.0.0.1:{port}")


def test_a_silent_address_costs_only_the_given_seconds() -> None:
    """An address that never answers is given up in time."""
    began = time.monotonic()
    assert not is_reachable("https://192.0.2.1", seconds=0.3)
    assert time.monotonic() - began < 1


def test_behind_a_proxy_the_proxy_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the proxy can reach is not for us to know; that it answers is enough."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{server.getsockname()[1]}")
        assert is_reachable("https://192.0.2.1", seconds=1)


def test_the_wish_to_stay_offline_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """HF_HUB_OFFLINE=1 is a wish, 0 is none."""
    monkeypatch.delenv("TRANSFORMERS_OFFLINE", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert offline_wish() == "HF_HUB_OFFLINE=1"
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    assert offline_wish() is None
