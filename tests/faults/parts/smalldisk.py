"""A small disk of its own, which can be filled and made read-only: a tmpfs, for which one has to be root."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import TracebackType

BLOCKS = (1 << 20, 1 << 16, 1 << 12)


def unavailable() -> str | None:
    """Why there can be no small disk here; None if there can."""
    if not sys.platform.startswith("linux"):
        return f"a tmpfs is mounted on Linux only, not on {sys.platform}"
    if os.geteuid() != 0:
        return "only root may mount a tmpfs"
    if shutil.which("mount") is None:
        return "there is no command mount"
    return None


class SmallDisk:
    """A tmpfs at a place, while its block runs.

    Args:
        place: Where it is mounted; made if it is not there.
        size: Its size in bytes.

    Attributes:
        full: Whether it is being kept full.
        frozen: The folder that is read-only at present, or None.
    """

    def __init__(self, place: Path, size: int) -> None:
        self.place = place
        self.size = size
        self.full = False
        self.frozen: Path | None = None

    def __enter__(self) -> SmallDisk:
        self.place.mkdir(parents=True, exist_ok=True)
        _run("mount", "-t", "tmpfs", "-o", f"size={self.size}", "tmpfs", str(self.place))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.thaw()
        _run("umount", "-l", str(self.place))
        self.place.rmdir()

    @property
    def hurt(self) -> bool:
        """Whether it cannot be written at present."""
        return self.full or self.frozen is not None

    def fill(self) -> None:
        """Takes all the room that is left; asked again, what was freed meanwhile."""
        self.full = True
        with self._ballast.open("ab", buffering=0) as file:
            for block in BLOCKS:
                with contextlib.suppress(OSError):
                    while file.write(bytes(block)) == block:
                        pass

    def free(self) -> None:
        """Gives the room back."""
        self._ballast.unlink(missing_ok=True)
        self.full = False

    def freeze(self, folder: Path) -> None:
        """Makes a folder of it read-only for everybody who opens a file there from now on.

        The folder is covered by a read-only mount of itself: to make the whole disk read-only is refused while a
        process has a file of it open for writing, as who searches has its lock. The mount becomes read-only in a place
        where nobody opens anything, and a copy of it covers the folder.
        """
        aside = self.place.with_name(f"{self.place.name}-aside")
        aside.mkdir()
        _run("mount", "--bind", str(folder), str(aside))
        try:
            _run("mount", "-o", "remount,bind,ro", str(aside))
            _run("mount", "--bind", str(aside), str(folder))
            self.frozen = folder
        finally:
            _run("umount", "-l", str(aside))
            aside.rmdir()

    def thaw(self) -> None:
        """Makes it writable again, if it was not."""
        if self.frozen is not None:
            _run("umount", "-l", str(self.frozen))
            self.frozen = None

    @property
    def _ballast(self) -> Path:
        return self.place / "ballast"


def _run(*command: str) -> None:
    """Runs a command of the system.

    Raises:
        RuntimeError: It failed.
    """
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
