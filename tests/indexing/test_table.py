from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from autotune.data import DataSource, Image, Item
from autotune.errors import DataError, PluginError
from autotune.indexing.cache import Look
from autotune.indexing.splitting import Columns, Member, group_hash
from autotune.indexing.table import Table, equal_runs


class Listed(DataSource):
    """Items without images."""

    def __init__(self, items: Sequence[Item]) -> None:
        self.listed = items

    def items(self) -> Iterator[Item]:
        """As given."""
        return iter(self.listed)

    def read(self, key: str) -> Image:
        """There is none."""
        raise DataError(key)


ITEMS = [
    Item(key="1", label="dog", group="rex"),
    Item(key="2", label="cat", side="test"),
    Item(key="3", label="dog", group="ada", side="train"),
    Item(key="4", label="ant", group="rex"),
]


def test_what_a_source_lists_comes_back() -> None:
    """Labels, groups and sides of each image; classes in order."""
    table = Table(Listed(ITEMS), "place")
    assert table.classes == ("ant", "cat", "dog")
    listed = [Item(key=table.keys[i], label=table.label(i), group=table.group(i), side=table.side(i)) for i in range(4)]
    assert listed == ITEMS


def test_what_was_seen_comes_back() -> None:
    """Hashes as 16 digits, broken images apart, copies together."""
    table = Table(Listed(ITEMS), "place")
    for number, id in enumerate(["00000000000000ff", "ffffffffffffffff", "", "00000000000000ff"]):
        reason = None if id else "gone"
        table.put(number, Look(stamp="1", id=id, height=number + 1, width=5, grey=True, reason=reason))
    assert table.broken() == (("3", "gone"),)
    assert table.sound().tolist() == [0, 1, 3]
    assert [same.tolist() for same in table.copies(table.sound())] == [[0, 3]]
    columns = table.columns(np.array([1, 3]))
    expected = Columns.of(
        [
            Member(id="ffffffffffffffff", label="cat", side="test"),
            Member(id="00000000000000ff", label="ant", group="rex"),
        ]
    )
    assert columns.ids.tolist() == expected.ids.tolist()
    assert columns.sides.tolist() == expected.sides.tolist()
    assert [table.classes[label] for label in columns.labels] == ["cat", "ant"]
    assert columns.groups[0] == -1
    assert columns.group_hashes[columns.groups[1]] == group_hash("rex")
    assert table.heights.tolist() == [1, 2, 0, 4]


def test_runs_of_equal_values() -> None:
    """Two or more of the same, with what lies beside them; nothing for none."""
    values, rows = np.array([1, 1, 2, 3, 3, 3], dtype=np.uint64), np.arange(10, 16)
    assert [run.tolist() for run in equal_runs(values, rows)] == [[10, 11], [13, 14, 15]]
    assert list(equal_runs(values[:0], rows[:0])) == []


@pytest.mark.parametrize(
    ("items", "error", "message"),
    [
        ([], DataError, "place: no images"),
        ([ITEMS[0], ITEMS[1], ITEMS[0]], PluginError, "Listed at place lists '1' twice"),
        ([Item(key="x", label="")], PluginError, "label or side is not valid"),
    ],
)
def test_nonsense_is_named(items: Sequence[Item], error: type[Exception], message: str) -> None:
    """What is wrong, and whose fault it is."""
    with pytest.raises(error, match=message):
        Table(Listed(items), "place")


class Same(str):
    """Texts whose hashes are all equal."""

    __slots__ = ()

    def __hash__(self) -> int:
        return 7


def test_keys_of_one_hash_are_not_taken_for_one_key() -> None:
    """Only equal keys are."""
    assert len(Table(Listed([Item(key=Same(k), label="a") for k in "abc"]), "place")) == 3
    with pytest.raises(PluginError, match="'b' twice"):
        Table(Listed([Item(key=Same(k), label="a") for k in "abcb"]), "place")
