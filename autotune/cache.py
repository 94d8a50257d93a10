"""Where autotune keeps what it can make again: indexes, facts, converted weights."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def cache_folder() -> Path:
    """The folder for caches: ``AUTOTUNE_CACHE_DIR``, else ``autotune`` in the platform's own place for caches.

    It is named, not made; whoever writes into it makes it.
    """
    chosen = os.environ.get("AUTOTUNE_CACHE_DIR")
    if chosen:
        return Path(chosen).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "autotune"
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        return (Path(local) if local else Path.home() / "AppData" / "Local") / "autotune"
    platform = os.environ.get("XDG_CACHE_HOME")
    return (Path(platform) if platform else Path.home() / ".cache") / "autotune"
