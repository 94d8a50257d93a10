"""What importing loads: little, and neither torch nor Optuna before somebody trains."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = {"torch", "torchvision", "timm", "optuna", "sklearn", "scipy", "cmaes", "pandas", "matplotlib"}
MIDDLING = {"numpy", "pydantic", "pluggy", "PIL", "safetensors", "tomlkit", "rich"}


def loaded_by(code: str) -> set[str]:
    """Top-level packages in a fresh interpreter after some code, without those that are there from the start."""
    probe = (
        "import sys; before = set(sys.modules)\n"
        f"{code}\n"
        "import json; print(json.dumps(sorted({m.split('.')[0] for m in set(sys.modules) - before})), file=sys.stderr)"
    )
    ran = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return set(json.loads(ran.stderr.strip().splitlines()[-1]))


def foreign(names: set[str]) -> set[str]:
    """Those that are not the standard library's."""
    return {n for n in names if n not in sys.stdlib_module_names and not n.startswith("_")}


def test_importing_autotune_loads_nothing_else():
    """``import autotune`` loads itself and the standard library."""
    assert foreign(loaded_by("import autotune")) == {"autotune"}


@pytest.mark.parametrize("command", [[], ["search"], ["plugins"], ["trials"]])
def test_help_is_quick(command):
    """The help of a command loads click and little else: no numpy, no plugins."""
    code = (
        "import autotune.cli\n"
        "try:\n"
        f"    autotune.cli.main({[*command, '--help']!r})\n"
        "except SystemExit as end:\n"
        "    assert not end.code\n"
    )
    assert not foreign(loaded_by(code)) & (HEAVY | MIDDLING - {"rich"})


def test_loading_plugins_imports_nothing_heavy():
    """All built-ins can be listed without torch, Optuna or scikit-learn."""
    assert not foreign(loaded_by("from autotune.plugins import load_plugins; load_plugins().listing()")) & HEAVY


def test_the_kit_imports_nothing_heavy():
    """autotune.testing can be imported, and toy checked, without torch."""
    assert not foreign(loaded_by("import autotune.testing")) & HEAVY


@pytest.mark.parametrize("module", ["config", "plan", "indexing", "reporting", "study"])
def test_only_the_engine_needs_optuna(module):
    """What reads a configuration or a study's folder needs neither Optuna nor torch."""
    assert not foreign(loaded_by(f"import autotune.{module}")) & {"torch", "torchvision", "timm", "optuna"}
