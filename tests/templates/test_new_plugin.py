"""``new_plugin``: what it writes is a plugin that is found, keeps the contract and can be searched."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import autotune
from autotune.templates import SOURCE, new_plugin


def run(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Runs Python in the plugin's folder, with the plugin and autotune importable."""
    home = str(Path(autotune.__file__).parents[1])
    env = {**os.environ, "PYTHONPATH": str(cwd), "MYPYPATH": home, "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, *command], cwd=cwd, env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", ["acme", "acme-net2"])
def test_its_own_tests_pass(tmp_path, name):
    """A new plugin, given metadata by setuptools, is found and passes the tests that come with it."""
    folder = new_plugin(name, tmp_path)
    assert folder == tmp_path / f"autotune-{name}"
    metadata = run("-c", "import setuptools; setuptools.setup()", "-q", "egg_info", cwd=folder)
    assert metadata.returncode == 0, metadata.stderr
    tests = run("-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=folder)
    assert tests.returncode == 0, tests.stdout + tests.stderr
    passed = re.search(r"(\d+) passed", tests.stdout)
    assert passed is not None
    assert int(passed[1]) >= 10


def test_nothing_of_the_model_is_left(tmp_path):
    """No file and no text of the new plugin bears the name of the plugin that it was copied from."""
    folder = new_plugin("acme-net", tmp_path)
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) == 6
    for path in files:
        assert "example" not in str(path.relative_to(tmp_path)).lower()
        assert "example" not in path.read_text().lower(), path
    assert "class AcmeNetTrainer" in (folder / "autotune_acme_net" / "trainer.py").read_text()
    assert 'acme-net = "autotune_acme_net"' in (folder / "pyproject.toml").read_text()


def test_the_distributions_prefix_may_be_given(tmp_path):
    """``autotune-acme`` and ``acme`` are the same plugin."""
    assert new_plugin("autotune-acme", tmp_path).name == "autotune-acme"


@pytest.mark.parametrize("name", ["", "Acme", "acme_net", "2fast", "acme-", "../x", "class", "autotune-"])
def test_bad_names_are_refused(tmp_path, name):
    """A name that cannot be a package's is refused, and nothing is written."""
    with pytest.raises(autotune.UsageError, match="cannot be called"):
        new_plugin(name, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_name_that_is_taken_is_refused(tmp_path):
    """A plugin that would clash with an installed one is refused."""
    with pytest.raises(autotune.UsageError, match="autotune-vision"):
        new_plugin("toy", tmp_path)


def test_nothing_is_overwritten(tmp_path):
    """A folder that is there is left alone."""
    folder = new_plugin("acme", tmp_path)
    (folder / "README.md").write_text("mine")
    with pytest.raises(autotune.UsageError, match="there already"):
        new_plugin("acme", tmp_path)
    assert (folder / "README.md").read_text() == "mine"


def test_the_template_is_packaged():
    """What is copied lies inside the package, beside the function that copies it."""
    assert (SOURCE / "pyproject.toml").is_file()


@pytest.mark.slow
def test_it_is_strictly_typed(tmp_path):
    """A new plugin passes mypy --strict, so that its author starts without a debt."""
    folder = new_plugin("acme", tmp_path)
    checked = run(
        "-m",
        "mypy",
        "--strict",
        "--follow-imports=silent",
        "--cache-dir",
        str(tmp_path / "cache"),
        "autotune_acme",
        cwd=folder,
    )
    assert checked.returncode == 0, checked.stdout
