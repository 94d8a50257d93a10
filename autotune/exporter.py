"""Exporters write a model in somebody else's format."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from autotune.model import Model


class Exporter(ABC):
    """Writes a model for use without autotune."""

    @abstractmethod
    def export(self, model: Model, path: Path) -> Path:
        """Writes the model and returns the file or folder written.

        Raises:
            UsageError: The format cannot hold this model.
        """
