from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

import autotune
from autotune.builtin.folders import FolderSource, accepts, autotune_data_sources, open_folder


def picture(path: Path, value: int = 0) -> Path:
    """Writes a small image; its folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Pillow.fromarray(np.full((2, 3, 3), value, dtype=np.uint8)).save(path)
    return path


def labels(root: Path) -> dict[str, tuple[str, str | None]]:
    """Label and side of each key."""
    return {item.key: (item.label, item.side) for item in FolderSource(root).items()}


def test_class_folders_give_their_names_as_labels(tmp_path: Path) -> None:
    """Files are listed by path; deeper ones belong to their class; suffixes may be capital."""
    for key in ("dogs/1.PNG", "cats/2.jpg", "cats/1.jpg", "cats/kittens/3.webp"):
        picture(tmp_path / key)
    assert list(labels(tmp_path).items()) == [
        ("cats/1.jpg", ("cats", None)),
        ("cats/2.jpg", ("cats", None)),
        ("cats/kittens/3.webp", ("cats", None)),
        ("dogs/1.PNG", ("dogs", None)),
    ]


@pytest.mark.parametrize(
    ("names", "sides"),
    [
        (("train", "val", "test"), ("train", "val", "test")),
        (("train", "valid"), ("train", "val")),
        (("Train", "Validation", "TEST"), ("train", "val", "test")),
        (("Training", "Testing"), ("train", "test")),
        (("train",), ("train",)),
    ],
)
def test_side_folders_prescribe_sides(tmp_path: Path, names: tuple[str, ...], sides: tuple[str, ...]) -> None:
    """The usual names of sides are understood, in any case."""
    for name in names:
        picture(tmp_path / name / "cats/1.png")
        picture(tmp_path / name / "dogs/deep/1.png")
    assert labels(tmp_path) == {
        f"{name}/{key}": (label, side)
        for name, side in zip(names, sides, strict=True)
        for key, label in (("cats/1.png", "cats"), ("dogs/deep/1.png", "dogs"))
    }


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    """Beside classes that are no sides, a folder ``train`` is a class of trains."""
    for key in ("train/1.png", "bus/1.png", "car/1.png"):
        picture(tmp_path / key)
    assert {label for label, _ in labels(tmp_path).values()} == {"train", "bus", "car"}


def test_a_folder_beside_the_sides_is_an_error(tmp_path: Path) -> None:
    """Neither layout fits; the folder that is in the way is named."""
    for key in ("train/cats/1.png", "test/cats/1.png", "extra/1.png"):
        picture(tmp_path / key)
    with pytest.raises(autotune.DataError, match="'extra' is beside them"):
        labels(tmp_path)


def test_images_outside_class_folders_are_passed_over_with_a_warning(tmp_path: Path) -> None:
    """A preview beside the classes, or a test folder without labels, does not become a class."""
    for key in ("train/cats/1.png", "train/dogs/1.png", "test/1.png", "test/2.png", "preview.png"):
        picture(tmp_path / key)
    with pytest.warns(UserWarning, match=r"3 images are in no class folder .* e\.g\. preview\.png"):
        assert list(labels(tmp_path)) == ["train/cats/1.png", "train/dogs/1.png"]


@pytest.mark.parametrize("name", ["with space", "été", "日本", "🐈", "a'b\"c", "100%", "[1]"])
def test_any_folder_name_is_a_label(tmp_path: Path, name: str) -> None:
    """Spaces, accents, scripts, emoji and signs survive."""
    picture(tmp_path / name / "1.png", 7)
    picture(tmp_path / "other/1.png")
    assert name in {label for label, _ in labels(tmp_path).values()}
    assert int(FolderSource(tmp_path).read(f"{name}/1.png")[0, 0, 0]) == 7


def test_an_accent_written_in_two_ways_is_one_class(tmp_path: Path) -> None:
    """Decomposed accents, as on macOS, and the usual composed ones give the same label."""
    picture(tmp_path / "train" / "e\u0301te\u0301" / "1.png")
    picture(tmp_path / "test" / "\u00e9t\u00e9" / "1.png")
    assert {label for label, _ in labels(tmp_path).values()} == {"\u00e9t\u00e9"}


def test_a_name_that_is_no_text_is_an_error(tmp_path: Path) -> None:
    """Bytes that are no UTF-8 cannot become a class; the message can be printed."""
    folder = os.fsencode(tmp_path / "caf") + b"\xe9"
    try:
        os.mkdir(folder)
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    picture(tmp_path / "other/1.png")
    os.link(tmp_path / "other/1.png", folder + b"/1.png")
    with pytest.raises(autotune.DataError, match=r"caf\\\\udce9") as caught:
        labels(tmp_path)
    str(caught.value).encode()


def test_what_is_hidden_or_no_image_is_passed_over(tmp_path: Path) -> None:
    """Dot-files, notebooks' checkpoints, macOS's leavings and text are not images; pipes are not opened."""
    for key in ("cats/1.png", "dogs/1.png", "cats/.2.png", ".ipynb_checkpoints/3.png", "__MACOSX/cats/1.png"):
        picture(tmp_path / key)
    (tmp_path / "cats/labels.csv").write_text("a,b")
    (tmp_path / "Thumbs.db").write_text("")
    (tmp_path / "empty").mkdir()
    os.mkfifo(tmp_path / "cats/pipe.png")
    assert list(labels(tmp_path)) == ["cats/1.png", "dogs/1.png"]


def test_links_are_followed_but_never_in_a_circle(tmp_path: Path) -> None:
    """A linked class and a linked file count; links to a folder above, or to themselves, end; dead ones are listed."""
    picture(tmp_path / "elsewhere/1.png")
    root = tmp_path / "data"
    picture(root / "cats/1.png")
    (root / "dogs").symlink_to(tmp_path / "elsewhere")
    (root / "cats/2.png").symlink_to(root / "cats/1.png")
    (root / "cats/dead.png").symlink_to(root / "cats/gone.png")
    (root / "cats/self.png").symlink_to(root / "cats/self.png")
    (root / "cats/up").symlink_to(root)
    assert list(labels(root)) == ["cats/1.png", "cats/2.png", "cats/dead.png", "cats/self.png", "dogs/1.png"]
    for key in ("cats/dead.png", "cats/self.png"):
        with pytest.raises(autotune.DataError, match=key):
            FolderSource(root).read(key)


def test_no_such_folder_is_an_error_with_a_proposal(tmp_path: Path) -> None:
    """The path is named, and a neighbour of nearly that name, or the layout that is expected."""
    (tmp_path / "images").mkdir()
    with pytest.raises(autotune.DataError, match=r"imags: no such folder\ndid you mean .*images\?"):
        open_folder(str(tmp_path / "imags"))
    with pytest.raises(autotune.DataError, match=r"no such folder\nexpected a folder for each class"):
        open_folder(str(tmp_path / "zzz"))
    with pytest.raises(autotune.DataError, match=r"no such folder\nthere is no folder .*nowhere either"):
        open_folder(str(tmp_path / "nowhere/images"))


def test_a_file_is_not_a_folder(tmp_path: Path) -> None:
    """One image is no data."""
    with pytest.raises(autotune.DataError, match=r"1\.png is a file, not a folder"):
        open_folder(str(picture(tmp_path / "1.png")))


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    """So is one with folders and texts only; the message says what is expected."""
    (tmp_path / "cats").mkdir()
    (tmp_path / "readme.txt").write_text("")
    with pytest.raises(autotune.DataError, match=r"no images in this folder\nexpected a folder for each class"):
        labels(tmp_path)


def test_images_without_class_folders_are_an_error(tmp_path: Path) -> None:
    """The message says that class folders are missing, and where."""
    picture(tmp_path / "flat/1.png")
    with pytest.raises(autotune.DataError, match="1 images, but no class folders"):
        labels(tmp_path / "flat")
    picture(tmp_path / "sided/train/1.png")
    picture(tmp_path / "sided/test/1.png")
    with pytest.raises(autotune.DataError, match=r"train: images, but no class folders"):
        labels(tmp_path / "sided")


def test_sides_without_train_are_an_error(tmp_path: Path) -> None:
    """There is nothing to learn from."""
    picture(tmp_path / "test/cats/1.png")
    with pytest.raises(autotune.DataError, match="test, but no train folder"):
        labels(tmp_path)


def test_one_folder_around_the_classes_is_recognised(tmp_path: Path) -> None:
    """An archive's outer folder is proposed; a single class is said to be one."""
    picture(tmp_path / "PetImages/Cat/1.png")
    picture(tmp_path / "PetImages/Dog/1.png")
    with pytest.raises(autotune.DataError, match=r"one class only, 'PetImages'\ndid you mean .*PetImages\?"):
        labels(tmp_path)
    picture(tmp_path / "one/Cat/1.png")
    with pytest.raises(autotune.DataError, match=r"one class only, 'Cat'\nexpected"):
        labels(tmp_path / "one")


@contextmanager
def bound_by_permissions() -> Iterator[None]:
    """Root may read everything: be somebody else for a while."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_no_permission_is_an_error() -> None:
    """A folder or a file that may not be read is named."""
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        root.chmod(0o755)
        picture(root / "cats/1.png")
        picture(root / "dogs/1.png")
        picture(root / "cats/2.png").chmod(0)
        (root / "dogs").chmod(0)
        with bound_by_permissions():
            source = FolderSource(root)
            with pytest.raises(autotune.DataError, match="dogs: no permission to read this folder"):
                list(source.items())
            with pytest.raises(autotune.DataError, match="inside: no permission"):
                open_folder(str(root / "dogs/inside"))
            with pytest.raises(autotune.DataError, match=r"2\.png: no permission"):
                source.read("cats/2.png")
        (root / "dogs").chmod(0o755)


def test_the_stamp_changes_with_the_file(tmp_path: Path) -> None:
    """Another size, or another time, is another stamp; the same file keeps it; a vanished one is an error."""
    path = picture(tmp_path / "cats/1.png")
    source = FolderSource(tmp_path)
    first = source.stamp("cats/1.png")
    assert source.stamp("cats/1.png") == first
    os.utime(path, ns=(1, 1))
    assert source.stamp("cats/1.png") != first
    path.unlink()
    with pytest.raises(autotune.DataError, match=r"1\.png: No such file"):
        source.stamp("cats/1.png")


def test_the_pixel_limit_is_the_source_s(tmp_path: Path) -> None:
    """A source may be opened with a smaller limit than Pillow's."""
    picture(tmp_path / "cats/1.png")
    with pytest.raises(autotune.DataError, match="more than the limit of 5"):
        FolderSource(tmp_path, max_pixels=5).read("cats/1.png")


def test_locations_that_are_paths_are_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What exists, or is written like a path, is a folder; bare names and addresses are somebody else's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "images").mkdir()
    for location in ("images", "images/", "./imags", "../x", "~/images", "/no/such", "no/such", str(tmp_path), "."):
        assert accepts(location), location
    for location in ("digits", "s3://bucket/key", "https://x/y", "hf:org/name", "imags", ""):
        assert not accepts(location), location
    assert open_folder("~/images").root == tmp_path / "images"


def test_the_plugin_offers_folders(tmp_path: Path) -> None:
    """The hook gives one record that opens what it accepts."""
    picture(tmp_path / "cats/1.png")
    (spec,) = autotune_data_sources()
    assert spec.name == "folders"
    assert spec.accepts(str(tmp_path))
    assert isinstance(spec.open(str(tmp_path)), FolderSource)
