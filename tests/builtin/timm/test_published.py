"""Published timm weights: the cache first, and a quick answer where there is no network."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import timm
from huggingface_hub import constants

import autotune
from autotune.builtin.timm.source import TimmSource


def test_offline_is_answered_at_once_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With HF_HUB_OFFLINE set and nothing cached, the error names the wish and three remedies."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    began = time.monotonic()
    with pytest.raises(autotune.WeightsUnavailable, match="HF_HUB_OFFLINE=1 is set") as caught:
        TimmSource().fetch("resnet18")
    assert time.monotonic() - began < 3
    for remedy in ("plugin", "timm/resnet18@weights.safetensors", "pretrained=false"):
        assert remedy in str(caught.value)


def test_a_hub_that_cannot_be_reached_is_answered_within_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that does not answer costs no more than about three seconds."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    began = time.monotonic()
    with pytest.raises(autotune.WeightsUnavailable, match="cannot be reached"):
        TimmSource().fetch("resnet18")
    assert time.monotonic() - began < 4


def test_what_the_hubs_cache_holds_needs_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file in the hub's cache is found, its name there is its digest."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    repository = tmp_path / "models--timm--resnet18.a1_in1k"
    blob = repository / "blobs" / ("ab" * 32)
    blob.parent.mkdir(parents=True)
    blob.write_bytes(b"weights")
    snapshot = repository / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "model.safetensors").symlink_to(blob)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    weights = TimmSource().fetch("resnet18")
    assert weights.path == snapshot / "model.safetensors"
    assert (weights.digest, weights.source, weights.licence) == ("ab" * 8, "hub", "apache-2.0")


def test_architectures_without_published_weights_say_so() -> None:
    """Nothing is looked up where nobody publishes anything."""
    source = TimmSource()
    unpublished = next(name for name in source.names() if not timm.get_pretrained_cfg(name).has_weights)
    with pytest.raises(autotune.WeightsUnavailable, match="nobody publishes weights"):
        source.fetch(unpublished)
