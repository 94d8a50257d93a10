"""The images that ``studies/strategies`` measures on are written whole, also after a kill while they were written."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

import autotune

FOLDER = Path(autotune.__file__).parents[1] / "studies" / "strategies"
CLASSES = ("shirt", "bag")
GARMENTS = 200


def loaded(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A program of the folder as a module; other folders have programs of the same name."""
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """``run.py``, with a few small grey images in place of Fashion-MNIST, which not every machine has."""
    module = loaded("run", monkeypatch)
    images, labels = np.zeros((GARMENTS, 4, 4), np.uint8), np.arange(GARMENTS) % len(CLASSES)

    def read_idx(path: Path) -> np.ndarray:
        return images if "images" in path.name else labels

    garments = SimpleNamespace(HOME=Path(), CLASSES=CLASSES, read_idx=read_idx)
    monkeypatch.setattr(module, "fashion_mnist", lambda: garments)
    monkeypatch.setattr(module, "TEST", 20)
    monkeypatch.setattr(module, "TRAINED_ON", 150)
    return module


def written(folder: Path) -> list[str]:
    """The images in a folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.png"))


def killed(folder: Path, *inner: str) -> None:
    """What a run that was killed while it wrote the folder left beside it."""
    left = folder.with_suffix(".half").joinpath(*inner)
    left.mkdir(parents=True)
    (left / "99999.png").touch()


def test_measured_images_are_written_anew(run: ModuleType, tmp_path: Path) -> None:
    """Nothing of what was left is in the way, nor among the images."""
    killed(tmp_path / "again", "train", "shirt")
    clean = run.write_images(tmp_path / "clean", 5, 0)
    again = run.write_images(tmp_path / "again", 5, 0)
    assert written(again) == written(clean)
    assert len(written(clean)) == 2 * 5 + 2 * 20 + 20
    assert not again.with_suffix(".half").exists()


def test_related_images_are_written_anew(run: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of another task, too."""
    whole = loaded("whole", monkeypatch)
    groups = {"all": CLASSES, "hand": ("bag",)}
    killed(tmp_path / "again", "all")
    clean = whole.related(tmp_path / "clean", groups, 5, 0)
    again = whole.related(tmp_path / "again", groups, 5, 0)
    assert written(again) == written(clean)
    assert len(written(clean)) == 2 * 5
    assert not again.with_suffix(".half").exists()
