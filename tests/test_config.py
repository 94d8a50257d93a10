"""What is asked for, read from study.toml and key=value."""

from __future__ import annotations

import pytest

from autotune.builtin import classify, policies, toy
from autotune.config import StudyConfig, read_config
from autotune.errors import ConfigError, UsageError
from autotune.plugins import Plugins


@pytest.fixture(scope="module")
def plugins():
    """The built-in trainers and policies."""
    found = Plugins()
    for module in (classify, toy, policies):
        found.register(module, module.__name__)
    return found


def problems(*assignments, values=None, path=None, plugins=None):
    """The mistakes that a request is refused for."""
    with pytest.raises(ConfigError) as caught:
        read_config(path, assignments, values or {}, plugins=plugins)
    return caught.value.problems


def only(*assignments, **more):
    """The one mistake."""
    (problem,) = problems("data=x", *assignments, **more)
    return problem


def written(folder, text):
    """A study file with some text."""
    path = folder / "study.toml"
    path.write_text(text)
    return path


def test_keys_are_set_in_tomls_notation_or_as_bare_text(plugins):
    """Every form that the help names is understood."""
    config = read_config(
        None,
        [
            "trainer=classify",
            "name=x",
            "metric=balanced_accuracy",
            "backbones=['timm/resnet18']",
            "fixed.lr=0.001",
            "space.drop.high=0.3",
            "img_size=96",
            "time=1h30m",
            "pretrained=false",
        ],
        {"data": "images", "trials": 3, "epochs": None},
        plugins=plugins,
    )
    assert config == StudyConfig(
        data="images",
        name="x",
        metric=("balanced_accuracy",),
        backbones=("timm/resnet18",),
        fixed={"lr": 0.001, "img_size": 96},
        space={"drop": {"high": 0.3}},
        time=5400.0,
        pretrained=False,
        trials=3,
    )


def test_text_stays_text():
    """A name of digits, or of a date, is a name."""
    config = read_config(None, ["data=2024", "name=2024-01-01", "device=cpu"])
    assert (config.data, config.name) == ("2024", "2024-01-01")


def test_data_may_be_several_places(tmp_path):
    """A list of places stays one, in a file too; a list of one place is that place."""
    several = read_config(None, ["data=['a', '7']"])
    assert several.data == several.places == ("a", "7")
    assert read_config(None, [], {"data": ["a", "b"]}).places == ("a", "b")
    assert read_config(written(tmp_path, 'data = ["a", "b"]\n')).data == ("a", "b")
    one = read_config(None, ["data=['a']"])
    assert (one.data, one.places) == ("a", ("a",))


def test_what_is_said_beside_a_file_goes_before_it(tmp_path):
    """Assignments replace single entries of the file's tables; the rest stays."""
    path = written(tmp_path, 'data = "a"\ntrials = 5\n[fixed]\nlr = 0.1\ndrop = 0.2\n[space.opt]\nvalues = ["sgd"]\n')
    config = read_config(path, ["fixed.lr=0.5", "space.opt={low=1, high=2}"], {"trials": 7})
    assert config.fixed == {"lr": 0.5, "drop": 0.2}
    assert config.space == {"opt": {"low": 1, "high": 2}}
    assert (config.data, config.trials) == ("a", 7)


def test_a_value_said_twice_is_a_mistake():
    """Which of two was meant nobody can tell; the same value twice is fine."""
    assert "said twice, time=5m and time=6m" in only("time=5m", "time=6m")
    assert read_config(None, ["data=x", "time=5m", "time=5m"]).time == 300


def test_every_mistake_is_reported_at_once(tmp_path, plugins):
    """A file full of mistakes brings one line for each, those of the trainer's hyperparameters included."""
    text = """
dta = "x"
data = "digits"
trainer = "toy"
time = "0"
trials = 0
sampler = "tpee"
name = "a/b"
seed = "x"
metric = ["acuracy"]
device = "gpu"
epochs = 2.5
[limits]
latency = 3
accuracy = "much"
[splits]
tst = 3
[fixed]
lr = -1.0
opt = "adam"
momentun = 0.9
batch_size = 8
size = "big"
[space]
batch_size = { low = 16 }
momentum = { low = 0.9, high = 0.1 }
weight_decay = { low = -1 }
sleep = { low = 0 }
"""
    found = problems(path=written(tmp_path, text), plugins=plugins)
    wanted = {
        "dta: no such key": "did you mean 'data'",
        "time = '0'": "must be above zero",
        "trials = 0": "must be at least 1",
        "sampler = 'tpee'": "did you mean 'tpe'",
        "name = 'a/b'": "plain folder name",
        "seed = 'x'": "must be a whole number",
        "metric = 'acuracy'": "did you mean 'accuracy'",
        "device = 'gpu'": "cuda",
        "epochs = 2.5": "must be a whole number",
        "limits.accuracy = 'much'": "must be a number",
        "splits.tst": "did you mean 'test'",
        "fixed.lr = -1.0": "must be above 0",
        "fixed.opt = 'adam'": "sgd",
        "fixed.momentun": "did you mean 'momentum'",
        "fixed.size = 'big'": "must be a whole number",
        "batch_size: both fixed and searched": "drop",
        "space.momentum": "low=0.9 is above high=0.1",
        "space.weight_decay.low = -1.0": "must be at least 0",
        "space.sleep": "needs low and high; high is missing",
    }
    for place, remedy in wanted.items():
        assert [p for p in found if p.startswith(place) and remedy in p], (place, remedy, found)
    assert len(found) == len(wanted)
    assert all("\n" not in p for p in found)


def test_limits_on_metrics_that_nobody_reports_are_mistakes(plugins):
    """A limit that could never be exceeded is no limit."""
    assert "limits.latency" in only("trainer=toy", "limits.latency=3", plugins=plugins)


def test_an_unknown_key_of_a_request_is_a_mistake_with_near_matches(plugins):
    """Near matches come from the keys and from the trainer's hyperparameters."""
    assert only("tme=15m", plugins=plugins) == "tme: no such key; did you mean 'time'?"
    assert "write it as fixed.lr" in problems(values={"data": "x", "lr": {"a": 1}}, plugins=plugins)[0]


def test_a_hyperparameter_in_the_file_needs_its_table(tmp_path, plugins):
    """The shortcut is for the command line; in a file the remedy names the table."""
    path = written(tmp_path, 'data = "x"\nimg_size = 96\n')
    assert problems(path=path, plugins=plugins) == ("img_size: no such key; write it as fixed.img_size",)


@pytest.mark.parametrize("trainer", ["clasify", "nothing-like-it"])
def test_an_unknown_trainer_is_a_mistake(plugins, trainer):
    """The message names the trainers that there are."""
    assert "classify" in only(f"trainer={trainer}", plugins=plugins)


@pytest.mark.parametrize(
    ("assignment", "complaint"),
    [
        ("metric=loss", "trainer 'classify' reports"),
        ("metric=[]", "must not be empty"),
        ("metric=['accuracy', 'accuracy']", "names accuracy twice"),
        ("metric=accuracy:up", "no direction"),
        ("pruner=halfing", "did you mean 'halving'"),
        ("sampler=3", "sampler = '3': is unknown"),
        ("device=cpuu", "is no device"),
        ("cache_size=lots", "write e.g. 20GB"),
        ("cache_size=-1", "is below zero"),
        ("backbones=[timm/resnet18]", "backbones=['a', 'b']"),
        ("backbones=[1]", "must be text"),
        ("pretrained=1", "true or false"),
        ("trials=many", "must be a whole number"),
        ("trials=true", "must be a whole number"),
        ("epochs=0", "at least 1"),
        ("name=.hidden", "plain folder name"),
        ("name=..", "plain folder name"),
        ("splits.test=1.5", "must be below 1"),
        ("splits={test=0.6, val=0.4}", "at least 0.1 to train on"),
        ("splits.val=0", "must be above 0"),
        ("fixed.lr=[1]", "must be text, a number, true or false"),
        ("fixed.lr=nan", "must be finite"),
        ("fixed.lr=true", "must be a number"),
        ("fixed.opt=adam", "did you mean 'adamw'"),
        ("fixed.augment=hevy", "did you mean 'heavy'"),
        ("fixed.batch_size=0", "at least 1"),
        ("fixed.nothing=1", "no such hyperparameter"),
        ("space.lrr.low=1", "did you mean 'lr'"),
        ("space.lr=3", "must be a table"),
        ("space.lr={}", "give low and high, or values"),
        ("space.lr.lowest=3", "did you mean 'low'"),
        ("space.lr.low='a'", "must be a number"),
        ("space.lr.low=1", "is above high"),
        ("space.lr.low=0", "must be above 0"),
        ("space.lr.log=1", "true or false"),
        ("space.lr={values=[0.1], low=0.1}", "keep one of them"),
        ("space.lr.values=[]", "not empty"),
        ("space.lr.values=['a']", "must be a number"),
        ("space.opt.low=1", "has no range"),
        ("space.opt.values=['adamw', 'adam']", "is unknown"),
        ("space.augment.values=['none', 'hevy']", "did you mean 'heavy'"),
        ("space.backbone.values=['timm/a']", "backbones=["),
        ("space.batch_size.low=8", "needs low and high"),
        ("space.batch_size={low=8.5, high=16}", "must be a whole number"),
        ("made=3", "must be a table"),
        ("time", "write key=value"),
        ("=3", "write key=value"),
        ("fixed..lr=3", "write key=value"),
        ("data.x=3", "no table"),
        ("time=soon", "write e.g. 15m"),
    ],
)
def test_each_mistake_has_one_line_with_its_remedy(plugins, assignment, complaint):
    """One mistake brings one line, which says what would do."""
    (problem,) = problems(assignment, values={"data": "x"}, plugins=plugins)
    assert complaint in problem
    assert "\n" not in problem


def test_own_weights_without_weights_contradict_each_other(plugins):
    """Random weights and a file of weights cannot both be meant."""
    assert "own weights" in only("pretrained=false", "backbones=timm/resnet18@w.pth", plugins=plugins)


def test_backbones_for_a_trainer_without_any_are_a_mistake(plugins):
    """A key that could have no effect is refused."""
    assert "uses none" in only("trainer=toy", "backbones=timm/resnet18", plugins=plugins)


def test_data_must_be_named():
    """Without data there is nothing to search on."""
    assert problems() == (
        "data: is missing (Folder, archive or table of images, or a name such as digits; a list of them is several "
        "tasks, for trainer multitask. Relative to the current directory)",
    )


@pytest.mark.parametrize(
    ("assignment", "complaint"),
    [
        ("data=[]", "must not be empty"),
        ("data=''", "must not be empty"),
        ("data=['a', '']", "must not be empty"),
        ("data=['a', 1]", "data=['cats', 'dogs']"),
    ],
)
def test_places_that_are_none_are_refused(assignment, complaint):
    """No place, an empty one, something that is no text."""
    (problem,) = problems(assignment)
    assert complaint in problem


def test_a_file_of_a_newer_version_is_refused(tmp_path):
    """Only that is said, since its keys may be unknown for that reason."""
    (problem,) = problems(path=written(tmp_path, "format = 99\nwarp = 3\n"))
    assert "newer" in problem
    assert "pip install -U" in problem


def test_a_file_that_is_no_toml_is_refused_with_its_line(tmp_path):
    """The parser's own place is told."""
    (problem,) = problems(path=written(tmp_path, "data = x\n"))
    assert "line 1" in problem


def test_a_file_that_is_not_there_is_refused(tmp_path):
    """The remedy is the command that writes one."""
    with pytest.raises(UsageError, match="there is no such file") as caught:
        read_config(tmp_path / "study.toml")
    assert "autotune init" in str(caught.value)


def test_without_plugins_their_part_is_left_for_later():
    """A hyperparameter by its bare name is taken for one, and judged when the trainer is known."""
    assert read_config(None, ["data=x", "img_size=96"]).fixed == {"img_size": 96}
