"""The command ``autotune`` itself: quick, plain about mistakes, open to guests."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest

import autotune
from autotune import cli
from autotune.cli.terminal import run

COMMAND = str(Path(sys.executable).with_name("autotune"))


def test_help_is_quick_and_imports_nothing_heavy():
    """``autotune --help`` answers within 0.4 s, without torch, Optuna or pydantic."""
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        said = subprocess.run([COMMAND, "--help"], capture_output=True, text=True, check=True)
        seconds.append(time.perf_counter() - began)
    assert min(seconds) <= 0.4
    assert all(name in said.stdout for name in cli.COMMANDS)
    code = (
        "import sys, json; from autotune.cli import cli; cli.main(['--help'], standalone_mode=False);"
        "print(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(json.loads(said.stderr))
    assert not loaded & {"torch", "optuna", "pydantic", "timm", "numpy", "rich", "sklearn"}


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_each_command_has_a_file_and_a_help(call, name):
    """Every command of the table is there, answers --help, and says the same in one line as in the table."""
    command = importlib.import_module(f"autotune.cli.{name.replace('-', '_')}").command
    said = call(name, "--help")
    assert said.code == 0
    assert said.out.startswith("Usage: autotune")
    assert command.help
    first = cli.COMMANDS[name].rstrip(".").split(",")[0].split(":")[0].split()[0]
    assert command.short_help.split()[0] == first


def test_the_version_is_the_packages(call):
    """``--version`` names the version."""
    assert call("--version").out.strip() == f"autotune, version {autotune.__version__}"


def test_an_unknown_command_gets_the_near_one(call):
    """A misspelt command is an error that proposes the right one."""
    said = call("serach", "digits")
    assert said.code == 2
    assert "no command is called 'serach'" in said.err
    assert "'search'" in said.err


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["status", "nowhere"], 5),
        (["search", "nowhere", "--trials", "1"], 3),
        (["search", "digits", "trainer=toy", "--time", "0"], 2),
        (["search", "digits", "trainer=nobody", "--trials", "1"], 2),
        (["search", "digits", "bakbones=x"], 2),
        (["trials"], 2),
        (["trials", "x", "--state", "lost"], 2),
        (["predict", "nowhere", "x.png"], 7),
        (["search", "digits", "trials"], 2),
    ],
)
def test_mistakes_have_exit_codes_and_no_traceback(call, words, code):
    """A mistake is one message on standard error, nothing on standard output, with its exit code."""
    said = call(*words)
    assert said.code == code, said.err
    assert said.err
    assert not said.out
    assert "Traceback" not in said.err


def test_other_exceptions_keep_their_traceback(monkeypatch):
    """What nobody expected is not hidden: it comes through as it is."""

    @click.command()
    def broken() -> None:
        raise RuntimeError("nobody expected this")

    monkeypatch.setattr("warnings.showwarning", None)
    with pytest.raises(RuntimeError, match="nobody expected this"):
        run(click.Group(commands={"broken": broken}), ["broken"])


def test_a_reader_that_has_enough_is_no_error(folder, tmp_path):
    """``autotune trials ... | head -1`` ends without a complaint."""
    pipe = f"{COMMAND} trials {folder} --json | head -c 1"
    said = subprocess.run(["bash", "-c", pipe], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert said.stdout == "["
    assert "Traceback" not in said.stderr
    assert "BrokenPipe" not in said.stderr


GUEST = """
import click

@click.command()
def command():
    "A guest's command."
    click.echo("hello from a guest")
"""


@pytest.fixture
def guests(tmp_path, monkeypatch):
    """A distribution with a good command, a broken one and one that is no command."""
    (tmp_path / "guest_commands.py").write_text(GUEST)
    (tmp_path / "guest_broken.py").write_text("import nothing_of_that_name\n")
    info = tmp_path / "guest-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: guest\nVersion: 1.2\n")
    points = "hello = guest_commands:command\nbroken = guest_broken:command\nnumber = guest_commands:__name__\n"
    (info / "entry_points.txt").write_text(f"[autotune.commands]\n{points}search = guest_commands:command\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()


@pytest.mark.usefixtures("guests")
def test_guests_commands_are_listed_without_import(call):
    """Commands of plugins stand in the help with where they come from, and run when called."""
    said = call("--help")
    assert "From guest 1.2." in said.out
    assert "guest_commands" not in sys.modules
    assert call("hello").out == "hello from a guest\n"
    sys.modules.pop("guest_commands")


@pytest.mark.usefixtures("guests")
@pytest.mark.parametrize("name", ["broken", "number"])
def test_a_guests_broken_command_is_named(call, name):
    """A command that cannot be imported, or is none, is an error that names its distribution."""
    said = call(name)
    assert said.code == 8
    assert "guest 1.2" in said.err
    sys.modules.pop("guest_commands", None)


@pytest.mark.usefixtures("guests")
def test_a_guest_cannot_replace_a_built_in(call):
    """A guest's command of a built-in's name is not called."""
    assert "guest" not in call("search", "--help").out
