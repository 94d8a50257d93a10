"""study.toml as autotune writes it."""

from __future__ import annotations

import tomllib

from hypothesis import given, settings, strategies as st

from autotune.config import SAMPLERS, Splits, StudyConfig, read_config
from autotune.studyfile import study_text, write_study_file

NUMBERS = st.one_of(st.integers(-(2**53), 2**53), st.floats(allow_nan=False, allow_infinity=False))
SCALARS = st.one_of(st.text(max_size=20), st.booleans(), NUMBERS)
KEYS = st.text("abcdefgh_.-/é '\"", min_size=1, max_size=8)
CONFIGS = st.builds(
    StudyConfig,
    name=st.none() | st.from_regex(r"[a-z0-9_][a-z0-9_.-]{0,10}", fullmatch=True),
    data=st.text(min_size=1, max_size=20).filter(lambda text: not text.startswith("\ud800")),
    metric=st.sampled_from([("accuracy",), ("accuracy", "log_loss")]),
    limits=st.dictionaries(KEYS, st.floats(-1e6, 1e6), max_size=2),
    time=st.none() | st.floats(min_value=1e-3, max_value=1e9),
    trials=st.none() | st.integers(1, 10**6),
    cache_size=st.none() | st.integers(0, 10**13),
    seed=st.integers(0, 2**31),
    sampler=st.sampled_from(SAMPLERS),
    backbones=st.none() | st.just(("timm/a", "timm/b@c d.pth")),
    fixed=st.dictionaries(KEYS, SCALARS, max_size=4),
    space=st.dictionaries(KEYS, st.fixed_dictionaries({"values": st.lists(SCALARS, max_size=3)}), max_size=3),
    splits=st.builds(Splits, test=st.floats(0, 0.4), val=st.floats(1e-9, 0.4)),
    made=st.dictionaries(
        KEYS, st.dictionaries(KEYS, SCALARS, max_size=2) | st.lists(st.text(), max_size=3), max_size=3
    ),
)


@settings(max_examples=30, deadline=None)
@given(CONFIGS)
def test_any_configuration_reads_back_as_it_was(config):
    """Floats to the last bit, any text, any key: nothing is lost or changed in writing."""
    assert StudyConfig.model_validate(tomllib.loads(study_text(config))) == config


def test_every_key_is_explained(tmp_path):
    """The description stands above each key, set or not; the file lies in the study's folder."""
    write_study_file(tmp_path, StudyConfig(data="pets", time=5400.0, cache_size=20 * 10**9))
    text = (tmp_path / "study.toml").read_text()
    for name, field in StudyConfig.model_fields.items():
        if name not in ("limits", "fixed", "space", "made"):
            assert f"# {field.description}\n" in text, name
    assert 'time = "1h30m"' in text
    assert 'cache_size = "20 GB"' in text
    assert "# trials is not set" in text
    assert read_config(tmp_path) == StudyConfig(data="pets", time=5400.0, cache_size=20 * 10**9)
