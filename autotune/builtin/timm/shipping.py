"""Writes ``surveys.json``, the facts that come with autotune for one version of timm.

Run it after timm was upgraded: ``python -m autotune.builtin.timm.shipping``. It takes about an hour on one core; what
it has found is kept in the cache folder, so it may be stopped and started again.
"""

from __future__ import annotations

import sys
from importlib.metadata import version

from autotune.builtin.timm.source import SHIPPED, TimmSource
from autotune.builtin.timm.surveying import survey
from autotune.vision.surveys import Surveys, ship


def main() -> None:
    """Surveys every architecture and writes the file."""
    surveys = Surveys("timm", version("timm"), survey)
    names = TimmSource().names()
    for at, name in enumerate(names):
        surveys.of(name)
        sys.stdout.write(f"\r{at + 1} of {len(names)}  {name:40}")
    ship(SHIPPED, version("timm"), {name: surveys.of(name) for name in names})


if __name__ == "__main__":
    main()
