from __future__ import annotations

import json
from pathlib import Path

from autotune.inspecting import Case, Finding, Inspection, Stage
from autotune.reporting.inspections import page, record

MANY = tuple(Case(images=(f"{i}.png", f"{i}.jpg", "a", "b", "c")) for i in range(12))
FOUND = Inspection(
    location="photos",
    images=1200,
    counts={"cat": 600, "dog": 599},
    nbytes=2_000_000,
    stages=(
        Stage(name="headers", images=1200, seconds=0.5),
        Stage(name="images", images=1200, known=1000, seconds=2.0),
    ),
    lines=("1,199 images of 2 classes: cat 600, dog 599",),
    findings=(
        Finding(
            kind="broken",
            summary="1 broken image of 1,200",
            count=1,
            cases=(Case(images=("\udce9.png",), note="gone", thumbnail=Path("/cache/broken-01.png")),),
            hint="repair it",
        ),
        Finding(kind="copies", summary="12 images with copies", count=60, cases=MANY),
    ),
)


def test_a_page() -> None:
    """What was looked at and how fast, then each finding with its cases, thumbnails and a remedy."""
    assert page(FOUND).splitlines() == [
        "photos: 1,200 images, 2 MB",
        "headers and end markers: 1,200 in 0.5 s, 2,400 a second",
        "decoding: 1,200 in 2.0 s, 600 a second (1,000 were known)",
        "1,199 images of 2 classes: cat 600, dog 599",
        "",
        "1 broken image of 1,200",
        "  \\udce9.png: gone",
        "    /cache/broken-01.png",
        "  repair it",
        "",
        "12 images with copies",
        *(f"  {i}.png = {i}.jpg = a = b and 1 more" for i in range(10)),
        "  ... and 2 more with --json",
        "",
        "a search would start",
    ]


def test_nothing_found_is_said() -> None:
    """An empty page would leave doubts."""
    plain = Inspection(location="x", images=2, counts={}, nbytes=None, stages=())
    assert page(plain) == "x: 2 images\n\nnothing is the matter with them\n\na search would start"


def test_a_record_is_json() -> None:
    """All cases, and names of any bytes."""
    found = json.loads(json.dumps(record(FOUND)).encode())
    assert found["starts"] is True
    assert len(found["findings"][1]["cases"]) == 12
    assert found["findings"][0]["cases"][0] == {
        "images": ["\\udce9.png"],
        "note": "gone",
        "thumbnail": "/cache/broken-01.png",
    }
