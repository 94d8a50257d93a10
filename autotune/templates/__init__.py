"""Makes a new plugin out of the one in ``plugin/``, which is whole and works as it stands."""

from __future__ import annotations

import keyword
import re
from pathlib import Path

from autotune.errors import UsageError
from autotune.plugin_origins import find

SOURCE = Path(__file__).parent / "plugin"
_LEFT_OUT = {"__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache"}


def new_plugin(name: str, folder: Path) -> Path:
    """Writes a separately installable plugin with a trainer and its tests.

    Args:
        name: What the plugin and its trainer are called, in lower case, e.g. ``acme`` or ``acme-net``. The
            distribution is ``autotune-NAME``.
        folder: Where the plugin's own folder, ``autotune-NAME``, is made.

    Returns:
        The plugin's folder.

    Raises:
        UsageError: The name cannot be used, or the folder is there already.
    """
    name = name.removeprefix("autotune-")
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name) or keyword.iskeyword(name):
        raise UsageError(
            f"a plugin cannot be called {name!r}", hint="use lower-case letters, digits and hyphens, e.g. acme-net"
        )
    for other in find():
        if other.origin.name == name:
            raise UsageError(f"there is a plugin called {name!r}: {other.origin}", hint="choose another name")
    target = folder / f"autotune-{name}"
    if target.exists():
        raise UsageError(f"{target} is there already", hint="choose another name or place; nothing was written")
    for path in sorted(SOURCE.rglob("*")):
        parts = path.relative_to(SOURCE).parts
        if path.is_dir() or any(part in _LEFT_OUT or part.endswith(".egg-info") for part in parts):
            continue
        copy = target.joinpath(*(_renamed(part, name) for part in parts))
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(_renamed(path.read_text(encoding="utf-8"), name), encoding="utf-8")
    return target


def _renamed(text: str, name: str) -> str:
    """The text with every spelling of ``example`` turned into the same spelling of the name."""
    words = name.split("-")
    text = text.replace("autotune_example", "autotune_" + "_".join(words))
    text = text.replace("Example", "".join(word.capitalize() for word in words))
    return text.replace("example", name)
