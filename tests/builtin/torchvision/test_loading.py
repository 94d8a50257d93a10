"""Weights into torchvision networks, and where they come from."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import save_file

import autotune
from autotune.builtin.torchvision.source import TorchvisionSource


@pytest.fixture(scope="module")
def source() -> TorchvisionSource:
    """The source."""
    return TorchvisionSource()


def _saved(path: Path, module: torch.nn.Module) -> autotune.Weights:
    save_file({n: t.contiguous() for n, t in module.state_dict().items()}, path)
    return autotune.Weights.of_file(path)


def test_body_comes_from_the_file_and_the_head_as_wished(source: TorchvisionSource, tmp_path: Path) -> None:
    """Another number of classes draws a new head; `keep_head` keeps one of the same number."""
    saved = source.backbone("shufflenet_v2_x0_5").build(5)
    backbone = source.backbone("shufflenet_v2_x0_5").with_weights(_saved(tmp_path / "w.safetensors", saved))
    given = saved.state_dict()
    state = backbone.build(3).state_dict()
    assert all(torch.equal(state[n], given[n]) for n in given if not n.startswith("fc."))
    kept = backbone.build(5, keep_head=True).state_dict()
    assert all(torch.equal(kept[n], given[n]) for n in given)
    assert not torch.equal(backbone.build(5).fc.weight, saved.fc.weight)


def test_files_with_auxiliary_heads_load(source: TorchvisionSource, tmp_path: Path) -> None:
    """The published layout of GoogLeNet, auxiliary heads included, loads without them."""
    published = torchvision.models.googlenet(weights=None, init_weights=False)
    torch.save(published.state_dict(), tmp_path / "g.pth")
    backbone = source.backbone("googlenet").with_weights(autotune.Weights.of_file(tmp_path / "g.pth"))
    module = backbone.build(3)
    assert torch.equal(module.conv1.conv.weight, published.conv1.conv.weight)


def test_densenets_old_names_load(source: TorchvisionSource, tmp_path: Path) -> None:
    """Published DenseNets say ``norm.1`` and ``conv.2``, and count no batches."""
    module = source.backbone("densenet121").build(3)
    old = {
        name.replace(".norm1.", ".norm.1.").replace(".conv2.", ".conv.2."): tensor
        for name, tensor in module.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    torch.save(old, tmp_path / "d.pth")
    backbone = source.backbone("densenet121").with_weights(autotune.Weights.of_file(tmp_path / "d.pth"))
    loaded = backbone.build(3, keep_head=True)
    assert all(torch.equal(t, module.state_dict()[n]) for n, t in loaded.state_dict().items())


def test_a_vits_positions_are_interpolated(source: TorchvisionSource, tmp_path: Path) -> None:
    """A file for 64 px loads into a network for 96 px."""
    weights = _saved(tmp_path / "w.safetensors", source.backbone("vit_b_32").build(3, img_size=64))
    module = source.backbone("vit_b_32").with_weights(weights).build(3, img_size=96)
    assert module.encoder.pos_embedding.shape[1] == 10


def test_older_mnasnets_files_of_plain_tensors_load(source: TorchvisionSource, tmp_path: Path) -> None:
    """MNASNet reads its version from the file; a safetensors file has none and is of today's."""
    saved = source.backbone("mnasnet0_5").build(3)
    backbone = source.backbone("mnasnet0_5").with_weights(_saved(tmp_path / "w.safetensors", saved))
    assert torch.equal(backbone.build(3).layers[0].weight, saved.layers[0].weight)


def test_a_file_of_another_network_is_refused_by_name(source: TorchvisionSource, tmp_path: Path) -> None:
    """The message names the first tensors that differ."""
    weights = _saved(tmp_path / "w.safetensors", source.backbone("squeezenet1_1").build(3))
    with pytest.raises(autotune.CheckpointError, match=r"does not fit torchvision/resnet18: conv1\.weight is missing"):
        source.backbone("resnet18").with_weights(weights).build(3)


def test_offline_is_answered_at_once_with_what_to_do(
    source: TorchvisionSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing cached and no network wished for: the error says so, within seconds, with remedies."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    began = time.monotonic()
    with pytest.raises(autotune.WeightsUnavailable, match="HF_HUB_OFFLINE=1 is set") as caught:
        source.fetch("resnet18")
    assert time.monotonic() - began < 3
    assert "torchvision/resnet18@weights.safetensors" in str(caught.value)


def test_what_torchs_cache_holds_needs_no_network(
    source: TorchvisionSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cached file is found, with ImageNet's classes."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    cached = tmp_path / "hub" / "checkpoints" / "resnet18-f37072fd.pth"
    cached.parent.mkdir(parents=True)
    cached.write_bytes(b"weights")
    weights = source.fetch("resnet18")
    assert (weights.path, weights.source, weights.licence) == (cached, "hub", "bsd-3-clause")
    assert weights.classes is not None
    assert len(weights.classes) == 1000
