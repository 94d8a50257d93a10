"""What a network computes beside its weights."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torchvision
from torch import nn

from autotune import Backbone
from autotune.vision import Cuts
from autotune.vision.provenance import making, versions

PLUGIN = """
import torch
from torch import nn

SCALE = 2.0

def doubled(x):
    return SCALE * x

class Base(nn.Module):
    kinds = frozenset(("a", "b", "c", "d"))
    step = 1

    @staticmethod
    def shifted(x):
        return x + 1

class Block(Base):
    def forward(self, x, *, times=1):
        kept = x if type(self).__name__ in {"one", "two", "three"} else -x
        return (lambda y: doubled(self.shifted(y)))(kept)
"""


def made(path: Path, text: str) -> list[tuple[str, str, str, str]]:
    """What is told of a block whose file says this."""
    path.write_text(text)
    spec = importlib.util.spec_from_file_location("guest", path)
    guest = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(guest)
    return making(guest.Block())


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("else -x", "else x"),
        ("x + 1", "x + 3"),
        ("SCALE * x", "SCALE + x"),
        ("SCALE = 2.0", "SCALE = 4.0"),
        ("times=1", "times=2"),
        ("step = 1", "step = 2"),
        ("Block(Base)", "Block(nn.Module)"),
        ("lambda y: doubled", "lambda y: -doubled"),
        ('"two"', '"four"'),
    ],
)
def test_an_edit_of_a_plugin_is_told(tmp_path: Path, old: str, new: str) -> None:
    """In a method, a base class, a function that it names, a constant that it reads; a comment is none."""
    assert old in PLUGIN
    before = made(tmp_path / "guest.py", PLUGIN)
    assert made(tmp_path / "guest.py", PLUGIN.replace(old, new)) != before
    assert made(tmp_path / "guest.py", "# said\n" + PLUGIN) == before


def test_every_process_tells_the_same(tmp_path: Path) -> None:
    """Sets, which have another order in each, do not count by it."""
    (tmp_path / "guest.py").write_text(PLUGIN)
    words = "import guest; from autotune.vision.provenance import making; print(making(guest.Block()))"
    told = {
        subprocess.run(
            [sys.executable, "-c", words],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(told) == 1


def test_settings_are_told_and_rates_of_dropout_are_not() -> None:
    """The layers of released packages are told by name, settings and version."""
    assert making(nn.Conv2d(3, 8, 3)) != making(nn.Conv2d(3, 8, 3, stride=2))
    assert making(nn.ReLU()) != making(nn.GELU())
    assert making(nn.Dropout(0.1)) == making(nn.Dropout(0.2))
    drop = torchvision.ops.StochasticDepth
    assert making(drop(0.1, "row")) == making(drop(0.2, "row"))
    assert [name for name, _ in versions(drop(0.1, "row"))] == ["torch", "torchvision"]


def test_what_is_kept_and_what_was_compared_is_not_believed_of_other_code(backbone: Backbone, tmp_path: Path) -> None:
    """A frozen block of the same name and weights computes otherwise; another trained one is compared anew only."""

    def prints(**blocks: nn.Module) -> str:
        network = backbone.build(3)
        for name, block in blocks.items():
            setattr(network, name, block)
        cut = Cuts(network, backbone, img_size=16, folder=tmp_path / "cuts").at(1)
        assert cut is not None
        return cut.fingerprint

    low = nn.Conv2d(3, 8, 3, 2, 1)
    smooth = nn.Sequential(low, nn.BatchNorm2d(8), nn.GELU())
    shifted = nn.Sequential(low, nn.BatchNorm2d(8, eps=0.1), nn.ReLU())
    assert len({prints(), prints(low=smooth), prints(low=shifted)}) == 3
    assert len(list((tmp_path / "cuts").iterdir())) == 3
    assert prints(top=nn.Sequential(nn.Conv2d(8, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.GELU())) == prints()
    assert len(list((tmp_path / "cuts").iterdir())) == 4
