from __future__ import annotations

from autotune.plugins import load_plugins
from autotune.testing import TrainerCase, tiny_data
from autotune.vision import Asking


def test_the_first_answer_is_remembered(tmp_path):
    """Work goes on until the host says stop; from then on the answer is the same, and the host is not asked again."""
    case = TrainerCase(spec=load_plugins().trainer("toy"), data=tiny_data())
    run = case.run(tmp_path, stop_at=3, reason="pause")
    asking = Asking(run)
    assert [asking() for _ in range(5)] == [True, True, False, False, False]
    assert asking.reason == "pause"
    assert run.asked == 3
