"""Writes ``surveys.json``, the facts that come with autotune for one version of torchvision.

Run it after torchvision was upgraded: ``python -m autotune.builtin.torchvision.shipping``. It takes two minutes.
"""

from __future__ import annotations

from importlib.metadata import version

from autotune.builtin.torchvision.source import SHIPPED, TorchvisionSource
from autotune.builtin.torchvision.surveying import survey
from autotune.vision.surveys import Surveys, ship


def main() -> None:
    """Surveys every architecture and writes the file."""
    surveys = Surveys("torchvision", version("torchvision"), survey)
    ship(SHIPPED, version("torchvision"), {name: surveys.of(name) for name in TorchvisionSource().names()})


if __name__ == "__main__":
    main()
