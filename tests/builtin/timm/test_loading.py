"""Weights into timm networks: heads, other sizes, files that do not fit, files that hold code."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import autotune
from autotune.builtin.timm.source import TimmSource


@pytest.fixture(scope="module")
def source() -> TimmSource:
    """The source."""
    return TimmSource()


def _saved(path: Path, module: torch.nn.Module) -> autotune.Weights:
    save_file({n: t.contiguous() for n, t in module.state_dict().items()}, path)
    return autotune.Weights.of_file(path)


def _trained(source: TimmSource, name: str, classes: int, **options: int) -> torch.nn.Module:
    torch.manual_seed(7)
    module = source.backbone(name).build(classes, **options)
    assert isinstance(module, torch.nn.Module)
    with torch.no_grad():
        for tensor in module.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(0.01)
    return module


def test_body_comes_from_the_file_and_the_head_is_new(source: TimmSource, tmp_path: Path) -> None:
    """A file with other classes gives the body; the head is drawn anew."""
    saved = _trained(source, "test_resnet", 5)
    backbone = source.backbone("test_resnet").with_weights(_saved(tmp_path / "w.safetensors", saved))
    module = backbone.build(3)
    state, given = module.state_dict(), saved.state_dict()
    assert all(torch.equal(state[n], given[n]) for n in given if not n.startswith("fc."))
    assert state["fc.weight"].shape[0] == 3


def test_the_head_is_kept_only_if_asked_and_of_that_size(source: TimmSource, tmp_path: Path) -> None:
    """`keep_head` keeps a head of as many classes; without it the head is new."""
    saved = _trained(source, "test_resnet", 5)
    backbone = source.backbone("test_resnet").with_weights(_saved(tmp_path / "w.safetensors", saved))
    kept = backbone.build(5, keep_head=True)
    assert all(torch.equal(t, saved.state_dict()[n]) for n, t in kept.state_dict().items())
    assert not torch.equal(backbone.build(5).fc.weight, saved.fc.weight)
    assert backbone.build(4, keep_head=True).fc.out_features == 4


def test_without_load_the_file_is_not_read(source: TimmSource) -> None:
    """`load=False` gives the bare network even when the file is gone."""
    gone = autotune.Weights(path=Path("/nowhere/w.safetensors"), digest="0" * 16, source="file")
    backbone = source.backbone("test_resnet").with_weights(gone)
    assert backbone.build(3, load=False).fc.out_features == 3
    with pytest.raises(autotune.CheckpointError, match="there is no such file"):
        backbone.build(3)


def test_the_head_is_drawn_the_same_with_and_without_weights(source: TimmSource, tmp_path: Path) -> None:
    """Loading does not disturb torch's generator."""
    backbone = source.backbone("test_resnet")
    loading = backbone.with_weights(_saved(tmp_path / "w.safetensors", _trained(source, "test_resnet", 5)))
    heads, draws = [], []
    for each in (backbone, loading):
        torch.manual_seed(0)
        heads.append(each.build(3).fc.weight)
        draws.append(torch.rand(3))
    assert torch.equal(*heads)
    assert torch.equal(*draws)


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"])
def test_files_of_another_image_size_are_resampled(source: TimmSource, name: str, tmp_path: Path) -> None:
    """Position embeddings and relative biases learned at 96 px load into a network for 64 px."""
    saved = _trained(source, name, 3, img_size=96)
    backbone = source.backbone(name).with_weights(_saved(tmp_path / "w.safetensors", saved))
    module = backbone.build(3, img_size=64).eval()
    with torch.no_grad():
        assert module(torch.zeros(2, 3, 64, 64)).shape == (2, 3)


def test_a_file_of_another_network_is_refused_by_name(source: TimmSource, tmp_path: Path) -> None:
    """The message names the first tensors that differ."""
    weights = _saved(tmp_path / "w.safetensors", source.backbone("test_vit").build(3))
    with pytest.raises(autotune.CheckpointError, match=r"does not fit timm/test_resnet: conv1\.0\.weight is missing"):
        source.backbone("test_resnet").with_weights(weights).build(3)


def test_a_lenient_architecture_refuses_foreign_files_too(source: TimmSource, tmp_path: Path) -> None:
    """DLA's own loading ignores what does not fit; a file of which nothing fits is an error all the same."""
    weights = _saved(tmp_path / "w.safetensors", source.backbone("test_vit").build(3))
    with pytest.raises(autotune.CheckpointError, match="does not fit timm/dla46x_c"):
        source.backbone("dla46x_c").with_weights(weights).build(3)


def test_torch_files_load_wrapped_or_not(source: TimmSource, tmp_path: Path) -> None:
    """A state dict, and one inside a training script's checkpoint, both load."""
    saved = _trained(source, "test_resnet", 5)
    for content in (saved.state_dict(), {"epoch": 3, "state_dict": saved.state_dict()}):
        path = tmp_path / "w.pth"
        torch.save(content, path)
        backbone = source.backbone("test_resnet").with_weights(autotune.Weights.of_file(path))
        assert torch.equal(backbone.build(3).layer1[0].conv1.weight, saved.layer1[0].conv1.weight)


class _Code:
    def __reduce__(self) -> tuple[object, ...]:
        return (print, ("this must not run",))


def test_no_code_in_a_file_is_run(source: TimmSource, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A pickle that would call a function is refused and calls nothing."""
    path = tmp_path / "w.pth"
    path.write_bytes(pickle.dumps({"fc.weight": _Code()}))
    with pytest.raises(autotune.CheckpointError, match=r"w\.pth"):
        source.backbone("test_resnet").with_weights(autotune.Weights.of_file(path)).build(3)
    assert "this must not run" not in capsys.readouterr().out


def test_a_damaged_file_is_named(source: TimmSource, tmp_path: Path) -> None:
    """A safetensors file that was cut short is an error about that file."""
    path = tmp_path / "w.safetensors"
    path.write_bytes(b"not weights")
    with pytest.raises(autotune.CheckpointError, match="cannot be read as weights"):
        source.backbone("test_resnet").with_weights(autotune.Weights.of_file(path)).build(3)
