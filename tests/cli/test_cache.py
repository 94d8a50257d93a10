"""``autotune cache``, on entries that were really made."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from autotune.cache_entries import write_facts
from autotune.vision import ArrayCache


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ArrayCache:
    """A cache folder with activations of one view and decoded images, the images used last."""
    monkeypatch.setenv("AUTOTUNE_CACHE_DIR", str(tmp_path / "cache"))
    made = ArrayCache(tmp_path / "cache")

    def rows(count: int) -> Iterator[tuple[torch.Tensor, ...]]:
        yield (torch.zeros(count, 250),)

    facts = {"backbone": "timm/small", "boundary": "blocks.5", "view": 3, "sums": [1, 2]}
    for key, kind, count in (("aa", "activations", 1000), ("bb", "images", 2000)):
        made.get(key, facts if kind == "activations" else {}, count, lambda n=count: rows(n), keep_going=yes, kind=kind)
    return made


def yes() -> bool:
    """Always goes on."""
    return True


@pytest.mark.usefixtures("cache")
def test_ls_says_what_is_kept_and_how_much(call):
    """A line an entry, the last used first, then the total and the limit; the same as json."""
    lines = call("cache", "ls").out.splitlines()
    assert lines[0].split() == ["kind", "what", "size", "last", "used"]
    assert lines[1].startswith("images ")
    assert lines[2].startswith("activations  timm/small, boundary blocks.5, view 3  1 MB  20")
    assert lines[3].startswith("3 MB of ")
    record = call("cache", "ls", "--json").json
    assert [(e["kind"], e["key"]) for e in record["entries"]] == [("images", "bb"), ("activations", "aa")]
    assert record["nbytes"] == sum(e["nbytes"] for e in record["entries"]) > 3_000_000
    assert record["limit"] > 0


def test_clear_removes_what_nobody_uses(call, cache):
    """One kind or all; what somebody has open is kept, and said."""
    assert call("cache", "clear", "--kind", "images").out == "2 MB freed\n"
    assert [e.kind for e in cache.ls()] == ["activations"]
    facts = cache.ls()[0].facts
    opened = cache.get("aa", facts, 1000, lambda: iter(()), keep_going=yes)
    assert call("cache", "clear").out == "0 B freed\n1 in use, 1 MB: kept\n"
    assert opened.intact()
    del opened
    assert call("cache", "clear").out == "1 MB freed\n"
    assert call("cache", "ls", "--json").json["entries"] == []


@pytest.mark.usefixtures("cache")
def test_an_unknown_kind_is_named(call):
    """A kind that is not there is a mistake, and nothing is removed."""
    said = call("cache", "clear", "--kind", "image")
    assert said.code == 2
    assert "did you mean 'images'?" in said.err
    assert len(call("cache", "ls", "--json").json["entries"]) == 2


def test_clearing_a_kind_twice(call, cache):
    """What is gone already, or never was in an empty cache, frees nothing and is no mistake."""
    assert call("cache", "clear", "--kind", "activations").out == "1 MB freed\n"
    assert call("cache", "clear", "--kind", "activations").out == "0 B freed\n"
    assert [e.kind for e in cache.ls()] == ["images"]
    call("cache", "clear")
    assert call("cache", "clear", "--kind", "activations").out == "0 B freed\n"


def test_a_damaged_entry_is_called_so(call, cache):
    """It is listed with what is wrong and without a time, and cleared like any other."""
    (cache.folder / "arrays/images/bb/facts.json").write_text("{}")
    lines = call("cache", "ls").out.splitlines()
    assert lines[1].startswith("activations ")
    assert lines[2].startswith("3 MB of ")
    assert lines[3:] == ["images/bb, 2 MB: damaged: facts.json is of another format"]
    assert [e["problem"] is None for e in call("cache", "ls", "--json").json["entries"]] == [True, False]
    assert call("cache", "clear", "--kind", "images").out == "2 MB freed\n"


AS_NOBODY = """
import os, sys
from autotune.cli import cli
import autotune.cli.cache, autotune.cache_entries, autotune.byte_sizes, autotune.cache
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
cli.main(["cache", "clear"], standalone_mode=False)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_clear_says_what_belongs_to_somebody_else():
    """What only another user may remove is named and stays."""
    folder = Path("/tmp") / f"autotune-clear-{os.getpid()}"
    theirs = folder / "arrays/images/aa"
    theirs.mkdir(parents=True)
    try:
        write_facts(theirs, {"facts": {}})
        environment = {"AUTOTUNE_CACHE_DIR": str(folder), "PATH": "/usr/bin:/bin"}
        done = subprocess.run(
            [sys.executable, "-c", AS_NOBODY], env=environment, capture_output=True, text=True, check=False
        )
        assert theirs.is_dir()
    finally:
        shutil.rmtree(folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"0 B freed\n{theirs}: kept; only its owner may remove it\n"


def test_nothing_is_kept_yet(call, tmp_path, monkeypatch):
    """Without a cache folder there is nothing to list or clear, and none is made."""
    monkeypatch.setenv("AUTOTUNE_CACHE_DIR", str(tmp_path / "nowhere"))
    assert call("cache", "ls").out.startswith("0 B of ")
    assert call("cache", "clear").out == "0 B freed\n"
    assert call("cache", "clear", "--kind", "activations").out == "0 B freed\n"
    assert not (tmp_path / "nowhere").exists()


def test_listing_and_clearing_need_no_torch(tmp_path):
    """Neither command imports torch."""
    code = (
        "import sys; from autotune.cli import cli\n"
        "for words in (['cache', 'ls'], ['cache', 'clear']):\n"
        "    cli.main(words, standalone_mode=False)\n"
        "assert 'torch' not in sys.modules and 'optuna' not in sys.modules\n"
    )
    environment = {"AUTOTUNE_CACHE_DIR": str(tmp_path), "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
