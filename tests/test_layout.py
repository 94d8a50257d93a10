from __future__ import annotations

import pytest

from autotune.data import Item
from autotune.errors import DataError
from autotune.layout import class_folders, class_label, is_image_path, side_named


def listed(*paths: str, **options: object) -> dict[str, tuple[str, str | None]]:
    """Label and side by path."""
    return {item.key: (item.label, item.side) for item in class_folders(list(paths), "x", **options)}  # type: ignore[arg-type]


def test_a_folder_around_all_others_is_passed_over_when_asked() -> None:
    """However many there are; the keys stay whole."""
    paths = ("pets/images/cats/1.png", "pets/images/dogs/1.png")
    assert listed(*paths, unwrap=True) == {paths[0]: ("cats", None), paths[1]: ("dogs", None)}
    with pytest.raises(DataError, match="one class only, 'pets'"):
        listed(*paths)


def test_sides_may_lie_in_a_folder_around_them() -> None:
    """An archive of DATA/train and DATA/test prescribes sides."""
    paths = ("data/train/cats/1.png", "data/train/dogs/1.png", "data/test/cats/2.png")
    assert listed(*paths, unwrap=True) == {
        paths[0]: ("cats", "train"),
        paths[1]: ("dogs", "train"),
        paths[2]: ("cats", "test"),
    }


def test_a_side_alone_is_not_passed_over() -> None:
    """A folder ``train`` around all classes is a side and no wrapping."""
    assert listed("train/a/1.png", "train/b/1.png", unwrap=True) == {
        "train/a/1.png": ("a", "train"),
        "train/b/1.png": ("b", "train"),
    }


def test_one_class_stays_one_class() -> None:
    """A single folder of images is no wrapping, and no classes."""
    with pytest.raises(DataError, match="one class only, 'cats'"):
        listed("cats/1.png", "cats/2.png", unwrap=True)


def test_nothing_is_an_error_that_names_the_kind() -> None:
    """An archive is not called a folder."""
    with pytest.raises(DataError, match=r"x: no images in this archive\nexpected a folder for each class"):
        listed(kind="archive")


@pytest.mark.parametrize("name", ["a\nb", "a\tb", "\x1b[31mred", "a\x00b", "a\x85b"])
def test_control_characters_are_no_label(name: str) -> None:
    """A label stands on one line of a report, and paints nothing."""
    with pytest.raises(DataError, match=r"x: the folder name .* holds a control character\nrename it"):
        class_label(name, "x: the folder name")


@pytest.mark.parametrize("name", ["a b", "a/b", "été", "日本", "🐈", ".hidden", "-", "a,b;c", "100 %", '"q"'])
def test_other_characters_are_kept(name: str) -> None:
    """Spaces, slashes, accents, scripts, emoji, leading dots and signs are labels."""
    assert class_label(name, "x") == name


def test_accents_are_composed() -> None:
    """Two ways of writing one word are one class."""
    assert class_label("e\u0301te\u0301", "x") == "\u00e9t\u00e9"


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("train", "train"),
        ("Training", "train"),
        ("VALID", "val"),
        ("Validation", "val"),
        ("testing", "test"),
        ("x", None),
    ],
)
def test_the_usual_names_of_sides_are_known(name: str, side: str | None) -> None:
    """In any case; others are none."""
    assert side_named(name) == side


@pytest.mark.parametrize(
    ("path", "image"),
    [("a/1.JPG", True), ("a/.1.jpg", False), (".a/1.jpg", False), ("__MACOSX/a/1.jpg", False), ("a/1.txt", False)],
)
def test_hidden_paths_and_other_files_are_no_images(path: str, image: bool) -> None:
    """What macOS leaves behind, and what is hidden, is passed over."""
    assert is_image_path(path) is image


def test_items_come_in_the_order_of_the_paths() -> None:
    """Nothing is sorted: an archive is read in its own order."""
    assert list(class_folders(["b/2.png", "a/1.png"], "x")) == [
        Item(key="b/2.png", label="b"),
        Item(key="a/1.png", label="a"),
    ]
