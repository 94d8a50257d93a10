"""What ``datasets`` loads as a source of images."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import datasets

from autotune import (
    PROFILES_NOTE,
    DataError,
    DataSource,
    Image,
    Item,
    Side,
    UsageError,
    class_label,
    decode_image,
    side_named,
)

_OPTION = re.compile(r":(?=[a-z_]+=)")
_OPTIONS = ("name", "image", "label")
_PLACES = "name a folder that save_to_disk wrote, a folder of images, or a set on the hub"
_SAVED = ("dataset_dict.json", "dataset_info.json")


class HuggingFaceSource(DataSource):
    """The images of a set, with their classes and the set's own sides.

    The columns are found by their types, an image and a class; where there are several, options say which.

    Args:
        request: ``PATH``: a folder that was saved by ``save_to_disk``, or what ``load_dataset`` loads, e.g. a name on
            the hub; with ``:name=CONFIGURATION``, ``:image=COLUMN`` and ``:label=COLUMN`` if need be.

    Raises:
        DataError: There is no such set, or it has no images with classes.
        UsageError: An option is not understood.
    """

    def __init__(self, request: str) -> None:
        path, *options = _OPTION.split(request)
        self.place = f"hf:{path}"
        chosen = dict(option.split("=", 1) for option in options)
        for name in chosen:
            if name not in _OPTIONS:
                raise UsageError(f"{self.place}: {name!r} is no option", hint=f"known: {', '.join(_OPTIONS)}")
        loaded = self._loaded(os.path.expanduser(path), chosen.get("name"))
        first = next(iter(loaded.values()))
        self.image = self._column(first, "image", chosen.get("image"), datasets.Image)
        self.label = self._column(first, "label", chosen.get("label"), datasets.ClassLabel)
        self.sides = self._sides(list(loaded))
        self.labels = {name: loaded[name].select_columns([self.label]) for name in self.sides}
        self.parts = {
            name: loaded[name].select_columns([self.image]).cast_column(self.image, datasets.Image(decode=False))
            for name in self.sides
        }

    def items(self) -> Iterator[Item]:
        """Every image that has a class, in the set's order.

        Raises:
            DataError: A class cannot be a name.
        """
        unlabelled = 0
        for name, side in self.sides.items():
            column = self.labels[name]
            names = getattr(column.features[self.label], "names", None)
            for number, value in enumerate(column[self.label]):
                if value is None or (names and not 0 <= value < len(names)):
                    unlabelled += 1
                    continue
                label = names[value] if names else str(value)
                yield Item(key=f"{name}/{number:06}", label=self._name(label), side=side)
        if unlabelled:
            warnings.warn(f"{self.place}: {unlabelled} images have no class and are passed over", stacklevel=2)

    def content(self, key: str) -> bytes:
        """The bytes of an image's file."""
        name, _, number = key.rpartition("/")
        part = self.parts.get(name, ())
        if not (number.isascii() and number.isdecimal() and int(number) < len(part)):
            raise DataError(f"{self.place}: there is no image {key!r}")
        try:
            cell = part[int(number)][self.image]
            return cell["bytes"] if cell["bytes"] is not None else Path(cell["path"]).read_bytes()
        except Exception as error:  # whatever Arrow reads with
            raise DataError(f"{self.place}: {key} cannot be read: {type(error).__name__}: {error}") from error

    def read(self, key: str) -> Image:
        """Decodes an image file as `autotune.read_image` does."""
        return decode_image(self.content(key), f"{self.place}: {key}")

    def stamp(self, key: str) -> str:
        """The set's own fingerprint."""
        return self._fingerprints.get(key.rpartition("/")[0], "")

    def notes(self) -> Sequence[str]:
        """That colour profiles are ignored."""
        return (PROFILES_NOTE,)

    @cached_property
    def _fingerprints(self) -> dict[str, str]:
        return {name: str(getattr(part, "_fingerprint", "")) for name, part in self.parts.items()}

    def _loaded(self, path: str, name: str | None) -> dict[str, Any]:
        """The parts of the set by their names."""
        if (os.path.isabs(path) or path.startswith(".") or path.count("/") > 1) and not os.path.exists(path):
            raise DataError(f"{self.place}: there is no such folder", hint=_PLACES)
        try:
            if any(os.path.exists(os.path.join(path, file)) for file in _SAVED):
                found = datasets.load_from_disk(path)
            else:
                found = datasets.load_dataset(path, name)
        except Exception as error:  # whatever the library meets on the disk or the net
            raise DataError(
                f"{self.place}: cannot be loaded: {type(error).__name__}: {' '.join(str(error).split())}",
                hint=_PLACES,
            ) from error
        parts = dict(found) if isinstance(found, dict) else {"train": found}
        if not any(len(part) for part in parts.values()):
            raise DataError(f"{self.place}: is empty")
        return parts

    def _column(self, part: Any, what: str, chosen: str | None, kind: type) -> str:
        """The column that is chosen, or the only one of the kind."""
        if chosen is not None:
            if chosen in part.features:
                return chosen
            raise DataError(f"{self.place}: no column is called {chosen!r}; it has {', '.join(part.features)}")
        found = [name for name, feature in part.features.items() if isinstance(feature, kind)]
        if not found and what == "label" and "label" in part.features:
            return "label"
        if len(found) != 1:
            raise DataError(
                f"{self.place}: {len(found) or 'no'} columns are of type {kind.__name__}; "
                f"it has {', '.join(part.features)}",
                hint=f"say which: {self.place}:{what}=COLUMN",
            )
        return found[0]

    def _sides(self, names: Sequence[str]) -> dict[str, Side | None]:
        """The side of each part that is used: of those that say one, or of all where none does."""
        known: dict[str, Side | None] = {name: side for name in names if (side := side_named(name)) is not None}
        if not known:
            return dict.fromkeys(names)
        if others := [name for name in names if name not in known]:
            warnings.warn(f"{self.place}: {', '.join(others)} are no train, val or test; passed over", stacklevel=2)
        return dict.fromkeys(known) if set(known.values()) == {"train"} else known

    def _name(self, label: str) -> str:
        return class_label(label, f"{self.place}: the class")
