"""From images to a measured model, with nothing but the command."""

from __future__ import annotations

import pytest

import autotune


def test_from_images_to_a_measured_model(shell):
    """Search, look, report, predict, measure: every step works on what the one before left."""
    out = shell.run("search", "images", "trainer=toy", "epochs=3", "--trials", "3")
    assert "best: trial" in out
    assert shell.json("status", "runs/images")["state"] == "done"
    assert len(shell.json("trials", "runs/images")) == 3
    assert shell.json("best", "runs/images")["metrics"]["accuracy"] > 0.5
    shell.run("report", "runs/images")
    lines = shell.run("predict", "runs/images", "images").splitlines()
    labelled = [line.split("\t") for line in lines]
    assert len(labelled) == 72
    assert sum(path.split("/")[1] == label for path, label, _ in labelled) / 72 > 0.5
    assert shell.json("evaluate", "runs/images", "--unlock-test")["opened"] == 1
    out = shell.run("search", "images", "trainer=toy", "epochs=3", "--trials", "3")
    assert "nothing was trained" in out


def test_a_search_without_a_cache_folder(shell):
    """Where the cache folder cannot be made, a study warns of it once and is whole; its trials say what that costs."""
    (shell.folder / "file").write_text("")
    shell.env["AUTOTUNE_CACHE_DIR"] = str(shell.folder / "file" / "cache")
    words = ("backbones=['timm/test_resnet']", "pretrained=false", "img_size=32", "epochs=1", "--trials", "2")
    words = (*words, "fixed.unfreeze_share=0.5")
    process = shell.start("search", "images", *words)
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    assert "best: trial" in out
    assert err.count("the cache folder cannot be made (Not a directory)") == 1
    assert [t["state"] for t in shell.json("trials", "runs/images")] == ["complete", "complete"]
    notes = [t.notes for t in autotune.open(shell.folder / "runs/images").trials]
    assert any("cannot be written (Not a directory)" in note for own in notes for note in own)


@pytest.mark.slow
def test_the_same_twice(shell):
    """With --trials, the same seed, data and one worker, two studies have the same trials and scores."""
    words = ("search", "digits", "trainer=toy", "epochs=3", "--trials", "5")
    shell.run(*words, "--name", "a", "--quiet")
    shell.run(*words, "--name", "b", "--quiet")
    one, other = (
        [(t["number"], t["state"], t["recipe"], t["value"]) for t in shell.json("trials", f"runs/{name}")]
        for name in ("a", "b")
    )
    assert one == other


@pytest.mark.slow
def test_a_model_is_improved(shell):
    """A network that was trained for too short gets better, and the verdict, the head and the report say so."""
    common = ("backbones=['timm/test_resnet']", "img_size=32", "--quiet")
    shell.run("search", "digits", *common, "pretrained=false", "epochs=1", "--trials", "1", "--name", "first")
    words = ("improve", "runs/first", "digits", "img_size=32", "fixed.unfreeze_share=1.0", "fixed.head_epochs=0")
    found = shell.json(*words, "epochs=6", "--trials", "1", "--quiet")
    assert found["comparison"]["n"] > 200
    assert found["verdict"].startswith("better: accuracy ")
    assert found["better"] is True
    study = autotune.open(shell.folder / "runs/digits-improved")
    assert study.config["fixed"]["keep_head"] is True
    assert found["verdict"] in (study.path / "report.md").read_text()
    again = shell.run(*words, "epochs=6", "--trials", "1")
    assert "nothing was trained" in again
    assert found["verdict"] in again


@pytest.mark.slow
def test_a_file_of_weights_is_improved(shell):
    """``timm/NAME@file`` is taken with its head; the verdict says that the classes' order was assumed."""
    import timm
    from safetensors.torch import save_file

    network = timm.create_model("test_resnet", num_classes=3)
    save_file(network.state_dict(), shell.folder / "mine.safetensors")
    found = shell.json(
        "improve", "timm/test_resnet@mine.safetensors", "images", "img_size=32", "epochs=2", "--trials", "1", "--quiet"
    )
    assert found["comparison"] is not None
    assert "sorted order" in found["verdict"]
    other = timm.create_model("test_resnet", num_classes=7)
    save_file(other.state_dict(), shell.folder / "other.safetensors")
    found = shell.json(
        "improve", "timm/test_resnet@other.safetensors", "images", "img_size=32", "epochs=1", "--trials", "1",
        "--quiet", "--name", "other",
    )  # fmt: skip
    assert found["comparison"] is None
    assert found["verdict"].startswith("cannot be compared")
