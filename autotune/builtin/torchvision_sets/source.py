"""A set of torchvision's as a source of images."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from threading import Lock
from typing import Any

import torchvision
from PIL.Image import Image as PillowImage
from torchvision.datasets import DatasetFolder

from autotune import (
    DataError,
    DataSource,
    Image,
    Item,
    Side,
    UsageError,
    cache_folder,
    class_label,
    file_stamp,
    image_pixels,
)

_OPTION = re.compile(r":(?=[a-z_]+=)")
_SPLITS: Mapping[str, Side] = {"train": "train", "trainval": "train", "val": "val", "valid": "val", "test": "test"}
_TARGETS = ("targets", "_labels", "labels", "y")
_OURS = ("transform", "target_transform", "transforms", "loader", "is_valid_file", "train")


class TorchvisionSource(DataSource):
    """The images of one of `torchvision.datasets`, with the sides that it has.

    Args:
        request: ``NAME``, and further arguments of the set as ``:OPTION=VALUE``; ``root`` is where its files are, by
            default ``torchvision`` in the folder for caches; ``download=false`` forbids to fetch them.

    Raises:
        DataError: There is no such set, it is not here and cannot be downloaded, or it is not for classification.
        UsageError: An option is not understood.
    """

    def __init__(self, request: str) -> None:
        self.name, *options = _OPTION.split(request)
        self.place = f"torchvision:{self.name}"
        self.kind = self._kind()
        self.parameters = _parameters(self.kind)
        self.options = dict(map(self._option, options))
        self.may_download = bool(self.options.pop("download", True)) and self._takes("download")
        if self._takes("root"):
            self.options.setdefault("root", str(cache_folder() / "torchvision"))
        self._one_at_a_time = Lock() if self.name == "FakeData" else None
        self.parts = self._parts()

    def items(self) -> Iterator[Item]:
        """Every image in the set's order, train first.

        Raises:
            DataError: The set's targets are not classes.
        """
        for name, (side, part) in self.parts.items():
            names = self._classes(part)
            for number, target in enumerate(self._targets[name]):
                label = names[target] if 0 <= target < len(names) else str(target)
                yield Item(key=f"{name}/{number:06}", label=label, side=side)

    def read(self, key: str) -> Image:
        """One image, as torchvision decodes it."""
        name, _, number = key.rpartition("/")
        part = self.parts.get(name, (None, ()))[1]
        if not (number.isascii() and number.isdecimal() and int(number) < len(part)):
            raise DataError(f"{self.place}: there is no image {key!r}")
        image = self._sample(part, int(number), key)[0]
        if not isinstance(image, PillowImage):
            raise DataError(f"{self.place}: {key} is no image but {type(image).__qualname__}")
        return image_pixels(image, f"{self.place}: {key}")

    def stamp(self, key: str) -> str:
        """The file's path, size and time where a set has files of one's own, such as ``ImageFolder``.

        Of all others the version of torchvision and the size of the set: they do not change.
        """
        name, _, number = key.rpartition("/")
        part = self.parts.get(name, (None, ()))[1]
        if isinstance(part, DatasetFolder):
            path = part.samples[int(number)][0]
            return f"{path}-{file_stamp(path)}"
        return f"{torchvision.__version__}-{len(part)}"

    @cached_property
    def _targets(self) -> dict[str, list[int]]:
        """The class of each image, by the part's name."""
        return {name: self._targets_of(name, part) for name, (_, part) in self.parts.items()}

    def _targets_of(self, name: str, part: Any) -> list[int]:
        found = next((f for a in _TARGETS if (f := getattr(part, a, None)) is not None and len(f) == len(part)), None)
        if found is None:
            found = [self._sample(part, number, f"{name}/{number}")[1] for number in range(len(part))]
        try:
            return [int(target) for target in found]
        except (TypeError, ValueError, RuntimeError) as error:
            raise DataError(
                f"{self.place}: is no classification set: its targets are such as {found[0]!r:.60}",
                hint="name a set whose images have one class each, e.g. torchvision:CIFAR10",
            ) from error

    def _classes(self, part: Any) -> list[str]:
        """The names of the classes, if the set has some."""
        found = getattr(part, "classes", None) or getattr(part, "categories", None) or ()
        names = [", ".join(name) if isinstance(name, tuple | list) else str(name) for name in found]
        if len(set(names)) < len(names):
            names = [f"{name} {number}" for number, name in enumerate(names)]
        return [class_label(name, f"{self.place}: the class") for name in names]

    def _sample(self, part: Any, number: int, key: str) -> tuple[Any, Any]:
        try:
            if self._one_at_a_time is None:
                return part[number]
            with self._one_at_a_time:  # it draws from torch's generator
                return part[number]
        except Exception as error:  # whatever the set reads with
            raise DataError(f"{self.place}: {key} cannot be read: {type(error).__name__}: {error}") from error

    def _kind(self) -> Any:
        kind = getattr(torchvision.datasets, self.name, None)
        if inspect.isclass(kind) and issubclass(kind, torchvision.datasets.VisionDataset):
            return kind
        raise DataError(
            f"{self.place}: torchvision {torchvision.__version__} has no such set",
            hint="e.g. CIFAR10, CIFAR100, FashionMNIST, Flowers102, Food101, OxfordIIITPet, SVHN; written like this",
        )

    def _takes(self, option: str) -> bool:
        return option in self.parameters

    def _option(self, text: str) -> tuple[str, Any]:
        """One ``OPTION=VALUE``; numbers, true and false are what they say, and the rest is text."""
        name, _, value = text.partition("=")
        if name in _OURS or not (self._takes(name) or name == "download"):
            known = ", ".join(n for n in self.parameters if n not in _OURS)
            raise UsageError(f"{self.place}: {name!r} is no option of this set", hint=f"known: {known}")
        if name == "root":
            return name, value
        try:
            return name, ast.literal_eval(value.capitalize() if value in ("true", "false") else value)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):  # all that it raises for what is none
            return name, value

    def _parts(self) -> dict[str, tuple[Side | None, Any]]:
        """The set's own parts by their names, each with its side."""
        if "train" in self.parameters:
            return {"train": ("train", self._load(train=True)), "test": ("test", self._load(train=False))}
        if "split" not in self.parameters or "split" in self.options:
            return {"all": (None, self._load())}
        found: dict[str, tuple[Side | None, Any]] = {}
        sides: set[Side] = set()
        for name, side in _SPLITS.items():
            if side not in sides and (part := self._load_split(name)) is not None:
                found[name] = (side, part)
                sides.add(side)
        if "train" not in sides:
            raise DataError(f"{self.place}: has no train side", hint=f"name one: {self.place}:split=SPLIT")
        return found

    def _load_split(self, name: str) -> Any:
        """One split of the set, or None where it has none of this name."""
        try:
            return self._load(split=name)
        except DataError as error:
            if isinstance(error.__cause__, ValueError):
                return None
            raise

    def _load(self, **arguments: Any) -> Any:
        """The set, from its files or from the net.

        Raises:
            DataError: Its files are not here and cannot be fetched, or it does not know a value.
            UsageError: It needs an option.
        """
        arguments = {**self.options, **arguments}
        try:
            inspect.signature(self.kind).bind(**arguments)
        except TypeError as error:
            raise UsageError(f"{self.place}: {error}", hint=f"say it: {self.place}:OPTION=VALUE") from error
        try:
            return self.kind(**arguments)
        except ValueError as error:
            raise DataError(f"{self.place}: {error}") from error
        except Exception as error:  # whatever the set reads with
            if not self.may_download:
                raise self._not_here(error, "") from error
        try:
            return self.kind(**arguments, download=True)
        except Exception as error:
            raise self._not_here(error, " and cannot be downloaded") from error

    def _not_here(self, error: Exception, more: str) -> DataError:
        place = f"cannot be read from {self.options['root']}" if "root" in self.options else "cannot be made"
        return DataError(
            f"{self.place}: {place}{more}: {' '.join(str(error).split())}",
            hint=f"its own page says which files it needs; name their folder: {self.place}:root=DIR",
        )


def _parameters(kind: type) -> list[str]:
    """The names of a set's arguments, those included that it hands on to the sets that it is made from."""
    found: list[str] = []
    for base in kind.__mro__:
        if "__init__" not in base.__dict__:
            continue
        parameters = list(inspect.signature(base).parameters.values())
        found += [p.name for p in parameters if p.kind is not inspect.Parameter.VAR_KEYWORD and p.name not in found]
        if all(p.kind is not inspect.Parameter.VAR_KEYWORD for p in parameters):
            break
    return found
