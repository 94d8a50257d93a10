"""Lets the tests import the benchmarks as the script imports them: from their own folder."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
