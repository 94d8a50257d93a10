"""A folder of many small classes, and a tiny network with weights in a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from autotune_metalearn.network import Network, preprocess_for
from autotune_metalearn.reading import Sides, read_sides
from PIL import Image
from safetensors.torch import save_file

from autotune import Backbone
from autotune.lookup import resolve_backbone
from autotune.plugins import load_plugins

CLASSES, EACH = 40, 8


@pytest.fixture(scope="module", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or writes the person's caches; the tests of a file share theirs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUTOTUNE_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty classes of eight images, 16 px each: a pattern of sixteen squares for every class, and noise.

    Of class-00 to class-39, 27 are for learning, 4 for choosing (19, 22, 31, 35) and 9 for measuring.
    """
    folder = tmp_path_factory.mktemp("data") / "shapes"
    random = np.random.default_rng(0)
    for label in range(CLASSES):
        pattern = np.kron(random.integers(0, 2, (4, 4)) * 80, np.ones((4, 4), dtype=np.int64))
        (folder / f"class-{label:02d}").mkdir(parents=True)
        for number in range(EACH):
            pixels = (pattern + random.integers(0, 170, (16, 16))).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"class-{label:02d}" / f"{number}.png")
    return folder


@pytest.fixture(scope="session")
def name(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of a tiny network with its file of weights, its head of five classes included."""
    torch.manual_seed(0)
    module = resolve_backbone("timm/test_resnet", load_plugins(), pretrained=False).build(5, load=False)
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_file({n: t.contiguous() for n, t in module.state_dict().items()}, path)
    return f"timm/test_resnet@{path}"


@pytest.fixture
def backbone(name: str) -> Backbone:
    """The tiny network with its weights."""
    return resolve_backbone(name, load_plugins())


@pytest.fixture
def sides(shapes: Path) -> Sides:
    """The three sets of classes."""
    return read_sides(str(shapes), load_plugins(), fewest=3)


@pytest.fixture
def vectors(backbone: Backbone) -> Network:
    """The tiny network for three classes, cut beneath its head."""
    preprocess = preprocess_for(backbone.facts, 16, 32)
    return Network(backbone, 3, unfreeze=0, preprocess=preprocess, device="cpu")


@pytest.fixture
def top(backbone: Backbone) -> Network:
    """The tiny network for three classes, cut beneath its topmost block."""
    preprocess = preprocess_for(backbone.facts, 16, 32)
    return Network(backbone, 3, unfreeze=1, preprocess=preprocess, device="cpu")
