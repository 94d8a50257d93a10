"""Starting workers, and looking after them until a study is done."""

from autotune.launch.crew import Crew
from autotune.launch.leading import run_crew

__all__ = ["Crew", "run_crew"]
