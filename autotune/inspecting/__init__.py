"""What is wrong with a place's images, said before a search costs a night.

Stage one, `skim`, reads headers and end markers; stage two decodes every image, as a search would, and shares its
cache; a linear probe, if asked for, says which labels it doubts. `inspect` runs them and gives one page of findings.
"""

from __future__ import annotations

from autotune.inspecting.inspection import inspect
from autotune.inspecting.records import Case, Finding, Inspection, Stage
from autotune.inspecting.skimming import skim

__all__ = ["Case", "Finding", "Inspection", "Stage", "inspect", "skim"]
