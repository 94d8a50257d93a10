"""Candidates are looked at, and a later study learns from an earlier one: real networks, nothing but the command."""

from __future__ import annotations

import pytest

from autotune.testing import tiny_folder

NAMES = ("test_resnet", "test_efficientnet", "test_byobnet")


@pytest.fixture
def candidates(shell):
    """Three small networks with weights of their own, as the command is told of them."""
    import timm
    import torch
    from safetensors.torch import save_file

    for name in NAMES:
        torch.manual_seed(0)
        save_file(timm.create_model(name, num_classes=3).state_dict(), shell.folder / f"{name}.safetensors")
    return [f"timm/{name}@{name}.safetensors" for name in NAMES]


@pytest.mark.slow
def test_a_study_learns_from_another(shell, candidates):
    """The first study narrows its candidates; the second weighs it by how they rank, and starts from its model too."""
    tiny_folder(shell.folder / "more", classes=4, seed=3)
    common = ("img_size=32", "epochs=2", "fixed.head_epochs=2", "--trials", "2", "--quiet")
    shell.run("search", "images", f"backbones={candidates}", *common)
    first = shell.json("trials", "runs/images")
    looks = [t for t in first if t["stage"] == "screen"]
    assert sorted(t["recipe"]["backbone"] for t in looks) == sorted(candidates)
    assert all({"knn", "linear", "seconds_per_image"} == t["metrics"].keys() for t in looks)
    searched = {t["recipe"]["backbone"] for t in first if t["stage"] != "screen"}
    assert len(searched) == 2
    assert shell.json("status", "runs/images")["trials"]["screened"] == 3

    both = [*candidates, "study:runs/images"]
    shell.run("search", "more", f"backbones={both}", *common, "--learn-from", "runs")
    second = shell.json("trials", "runs/more")
    assert "study:runs/images" in {t["recipe"]["backbone"] for t in second if t["stage"] == "screen"}
    report = (shell.folder / "runs/more/report.md").read_text()
    assert "past study runs/images: weight" in report
    assert "3 backbones agree in rank by" in report
    assert "## Candidates" in report
