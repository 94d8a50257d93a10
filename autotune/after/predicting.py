"""Predictions for image files: a bad image is one clear line, the others go on."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from autotune.data import Image
from autotune.errors import DataError, UsageError
from autotune.images import IMAGE_SUFFIXES, read_image
from autotune.model import Averaging, Model, variants


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What a model says of one image file.

    Attributes:
        path: The file.
        label: The most probable class; None where the image cannot be read.
        probability: Its probability.
        top: The most probable classes with their probabilities, best first.
        problem: Why the image cannot be read, or None.
    """

    path: Path
    label: str | None = None
    probability: float | None = None
    top: tuple[tuple[str, float], ...] = ()
    problem: str | None = None


def image_files(paths: Iterable[str | os.PathLike[str]]) -> tuple[Path, ...]:
    """The image files among paths: files as they are, folders with all that they hold, in order.

    A path that does not exist is kept, so that it is reported like an image that cannot be read.

    Raises:
        UsageError: There is no image at all.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            inside = (p for p in path.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())
            found += sorted(p for p in inside if not any(part.startswith(".") for part in p.relative_to(path).parts))
        else:
            found.append(path)
    if not found:
        raise UsageError(
            "there are no images to predict in " + (", ".join(str(p) for p in paths) or "nothing"),
            hint=f"name files, or folders that hold some ({', '.join(sorted(IMAGE_SUFFIXES))})",
        )
    return tuple(found)


def predict_files(
    model: Model,
    paths: Sequence[str | os.PathLike[str]],
    *,
    top: int = 1,
    batch: int = 32,
    tta: Averaging = "none",
) -> Iterator[Prediction]:
    """Predicts image files, in order; yields as it goes.

    Args:
        model: The model.
        paths: Files and folders.
        top: How many classes to name for each image.
        batch: Images a forward pass.
        tta: Test-time augmentation; see `autotune.Model.predict`.

    Raises:
        UsageError: There is no image at all, `top` is below 1, or there is no such test-time augmentation.
    """
    if top < 1:
        raise UsageError(f"top={top}: name at least one class")
    variants(tta)
    files = image_files(paths)
    for start in range(0, len(files), batch):
        read: list[Image | DataError] = [_read(path) for path in files[start : start + batch]]
        images = [image for image in read if not isinstance(image, DataError)]
        rows = iter(model.predict(images, tta)) if images else iter(())
        for path, image in zip(files[start : start + batch], read, strict=True):
            if isinstance(image, DataError):
                yield Prediction(path=path, problem=image.message)
                continue
            row = next(rows)
            best = row.argsort()[::-1][:top]
            named = tuple((model.classes[i], float(row[i])) for i in best)
            yield Prediction(path=path, label=named[0][0], probability=named[0][1], top=named)


def _read(path: Path) -> Image | DataError:
    try:
        return read_image(path)
    except DataError as error:
        return error
