"""Lets the tests import what they are made of, as the script does."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent / "parts"))
