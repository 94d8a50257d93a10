"""``autotune check`` on folders that are really so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes of 60 pictures each, one of them cut short."""
    random = np.random.default_rng(0)
    for i in range(120):
        path = tmp_path / "photos" / ("cat", "dog")[i % 2] / f"{i:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (48, 48, 3), dtype=np.uint8)).save(path)
    path = tmp_path / "photos" / "cat" / "000.png"
    path.write_bytes(path.read_bytes()[:-50])
    return tmp_path / "photos"


@pytest.mark.parametrize("options", [[], ["--quick"]])
def test_a_page_and_code_0_where_a_search_would_start(call, photos, options):
    """The broken image, its reason, and what would happen."""
    said = call("check", "photos", *options)
    assert said.code == 0, said.err
    lines = said.out.splitlines()
    assert lines[0].startswith("photos: 120 images, ")
    assert lines[1].startswith("headers and end markers: 120 in ")
    assert "1 broken image of 120" in lines
    assert "  cat/000.png: a PNG that was cut short: it has no end marker" in lines
    assert lines[-1] == "a search would start"
    assert ("decoding: 120 in " in said.out) == (not options)


@pytest.mark.parametrize("options", [[], ["--quick"]])
def test_a_page_and_code_3_where_it_would_not(call, photos, options):
    """The page is there, and the error says what a search would say."""
    (photos / "dog" / "001.png").write_text("gone")
    said = call("check", "photos", *options)
    assert said.code == 3
    assert "2 broken images of 120" in said.out
    assert "a search would start" not in said.out
    assert said.err.startswith("error: a search would not start: photos: 2 of 120 images cannot be read\n")
    assert "text, not an image" in said.err
    searched = call("search", "photos", "trainer=toy", "--trials", "1")
    assert searched.code == 3
    assert "photos: 2 of 120 images cannot be read\n" in searched.err


def test_json_has_everything(call, photos):
    """One object, whether a search would start or not."""
    record = call("check", "photos", "--json").json
    assert record["starts"] is True
    assert record["images"] == 120
    assert record["counts"] == {"cat": 59, "dog": 60}
    (finding,) = record["findings"]
    assert finding["kind"] == "broken"
    assert finding["cases"] == [
        {"images": ["cat/000.png"], "note": "a PNG that was cut short: it has no end marker", "thumbnail": None}
    ]
    (photos / "dog" / "001.png").write_text("gone")
    said = call("check", "photos", "--json", "--quick")
    assert said.code == 3
    assert said.json["starts"] is False
    assert said.json["problem"].startswith("photos: 2 of 120")


def test_a_probe_is_made_when_asked_for(call):
    """On digits by their own pixels, since they are small."""
    said = call("check", "digits", "--probe")
    assert said.code == 0
    assert "linear probe: 1," in said.out
    assert "labels are doubted by a linear probe on small pixels, which is right about 9" in said.out


def test_a_quick_check_has_no_probe(call):
    """One error that says why."""
    said = call("check", "digits", "--quick", "--probe")
    assert said.code == 2
    assert "a quick check decodes nothing" in said.err


def test_a_place_that_there_is_not(call):
    """Code 3, and nothing on standard output."""
    said = call("check", "./nowhere")
    assert said.code == 3
    assert said.out == ""
    assert "no such folder" in said.err
