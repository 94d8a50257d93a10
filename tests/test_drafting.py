"""A commented study.toml to begin with."""

from __future__ import annotations

import tomllib

import pytest

import autotune
from autotune.config import StudyConfig
from autotune.drafting import EXAMPLES, write_draft


def test_every_key_without_a_default_has_an_example():
    """A key whose default is nothing is shown with an example that is valid."""
    empty = {n for n, f in StudyConfig.model_fields.items() if f.get_default() is None and not f.is_required()}
    assert empty == EXAMPLES.keys()
    StudyConfig.model_validate({"data": "x", **EXAMPLES})


@pytest.mark.parametrize("trainer", ["toy", "classify", "multitask"])
def test_every_key_and_every_range_stands_in_the_draft(tmp_path, trainer):
    """The draft shows each key with its description, and what the trainer searches."""
    write_draft(tmp_path / "study.toml", "digits", [f"trainer={trainer}", "metric=macro_f1"])
    text = (tmp_path / "study.toml").read_text()
    table = tomllib.loads(text)
    assert table["metric"] == ["macro_f1"]
    for name, field in StudyConfig.model_fields.items():
        if name not in ("made", "limits"):
            assert name in text
            assert field.description in text or name in ("fixed", "space")
    assert "# lr = { low = " in text
    assert f"# batch_size = {'{' if trainer == 'toy' else ''}" in text


def test_wrong_requests_write_nothing(tmp_path):
    """A place without images, an unknown key or an unknown trainer is an error, and no file is left."""
    for words in (["nowhere"], ["digits", "nmae=x", "trainer=toy"], ["digits", "trainer=nobody"]):
        with pytest.raises(autotune.AutotuneError):
            write_draft(tmp_path / "study.toml", words[0], words[1:])
    assert not (tmp_path / "study.toml").exists()
