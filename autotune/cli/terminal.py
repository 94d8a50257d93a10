"""What every command shares: how it ends, how it warns, how it prints."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any

import click

from autotune.errors import AutotuneError


def run(group: click.Group, arguments: Sequence[str] | None) -> int:
    """Runs the command line and returns its exit code.

    A mistake with a remedy becomes two lines on standard error; any other exception keeps its traceback.
    """
    warnings.showwarning = _warn
    try:
        code = group.main(args=arguments, prog_name="autotune", standalone_mode=False)
        sys.stdout.flush()
    except AutotuneError as error:
        complain(error)
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return 130
    except BrokenPipeError:
        # Whoever read has enough; Python must not complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    return code if isinstance(code, int) else 0


def complain(error: AutotuneError) -> None:
    """Prints a mistake and its remedy."""
    click.echo(f"error: {error.message}", err=True)
    for line in (error.hint or "").splitlines():
        click.echo(f"  {line}", err=True)


def show_json(record: object) -> None:
    """Prints json types."""
    from autotune.reporting.records import as_json

    click.echo(json.dumps(as_json(record), indent=2, allow_nan=False))


def show_json_line(record: object) -> None:
    """Prints json types on one line, so that a reader can follow."""
    from autotune.reporting.records import as_json

    click.echo(json.dumps(as_json(record), allow_nan=False))


def _warn(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, file: Any = None, line: Any = None
) -> None:
    """One line a warning; where it was raised matters only to who develops the library that warns."""
    where = "" if filename.startswith(os.path.dirname(os.path.dirname(__file__))) else f" ({filename}:{lineno})"
    # What nobody can be told, e.g. since the disk that a log lies on is full, must not end what is under way.
    with contextlib.suppress(OSError):
        click.echo(f"warning: {message}{where}", err=True)
