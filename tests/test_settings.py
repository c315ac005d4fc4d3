from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from medalist.config import dump_config
from medalist.errors import ConfigError
from medalist.kinds import load_settings, parse_settings
from medalist.postprocess.settings import ThresholdConfig
from medalist.tasks.embed.settings import EmbedSettings
from medalist.tasks.segment.model_settings import SmpConfig, TernausConfig

PROJECT = Path(__file__).parent.parent
CONFIGS = sorted(path for path in (PROJECT / "configs").glob("*/*.yaml") if path.parent.name != "base")
SMALL = (
    "competition: x\nmodel: {kind: unet, encoder: e, channels: [body]}\nloss: {bce: 1.0}\ndecide: {kind: watershed}\n"
)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(SMALL)
    return path


def refused(path: Path, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_settings(path, overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_config_of_the_project_is_whole_and_survives_a_dump(path: Path) -> None:
    settings = load_settings(path)
    assert settings.competition.partition(".")[0] == path.parent.name
    assert settings.augment or (isinstance(settings, EmbedSettings) and settings.model.frozen)
    assert parse_settings(dump_config(settings), "x") == settings
    assert path.read_text().startswith("# medalist ")


def test_there_are_configs() -> None:
    assert {"toy_nuclei/demo.yaml", "dsb2018/unet_lite0.yaml"} <= {str(p.relative_to(p.parents[1])) for p in CONFIGS}


@pytest.mark.parametrize("path", sorted((PROJECT / "configs" / "base").glob("*.yaml")), ids=lambda path: path.stem)
def test_a_base_lacks_nothing_but_the_competition(path: Path) -> None:
    assert "key 'competition' is missing" in refused(path)
    assert load_settings(path, ("competition=x",)).competition == "x"


SECTIONS = ("folds", "task", "model", "loss", "loader", "train", "predict", "decide")


@pytest.mark.parametrize("section", SECTIONS)
def test_an_unknown_key_is_refused_in_every_section(small: Path, section: str) -> None:
    message = refused(small, f"{section}.zzz=1")
    assert message.startswith(f"command line: unknown key '{section}.zzz' (value 1); allowed here: ")
    known = type(getattr(load_settings(small), section)).model_fields
    assert all(name in message for name in known)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("folds.n=1", "folds.n = 1: must be greater than or equal to 2"),
        ("folds.stratified=maybe", "folds.stratified = 'maybe': must be a valid boolean"),
        ("task.kind=detect", "task.kind = 'detect'; allowed: segment"),
        ("task.border=0", "task.border = 0"),
        (
            "model.kind=unet++",
            "allowed: unet, unetplusplus, fpn, linknet, ternausnet11",
        ),
        ("model.filters=8", "unknown key 'model.filters'"),
        ("model.channels=[]", "model.channels = []"),
        ("model.channels=[a, a]", "channel 'a' stands twice"),
        ("model.decoder_channels=[1, 2]", "model.decoder_channels = [1, 2]: the decoder has 5 blocks"),
        ("loss.bce=-1", "loss.bce = -1: must be greater than or equal to 0"),
        ("loss.bce=0", "loss: every weight is 0"),
        ("loss.dise=1", "did you mean 'dice'?"),
        ("loss.channels.bdy=2", "loss.channels: the model has no channel 'bdy', only body; did you mean 'body'?"),
        ("loader.workers=65", "loader.workers = 65"),
        ("loader.cache=disk", "allowed: memory, file"),
        ("train.epochs=0", "train.epochs = 0"),
        ("train.schedule=onecycle", "did you mean 'one_cycle'?"),
        ("train.precision=16", "train.precision = 16; allowed: 32-true, 16-mixed, bf16-mixed"),
        ("predict.tta=flip", "did you mean 'flips'?"),
        ("predict.scales=[9]", "each must be within 0.1..8"),
        ("decide.kind=watershd", "did you mean 'watershed'?"),
        ("decide.body=1", "decide.body = 1: must be less than 1"),
        ("decide.threshold=0.5", "unknown key 'decide.threshold'"),
        ("augment=[3]", "augment.0 = 3"),
        ("augment=[D4]", "augment.0 = 'D4'"),
        ("augment={D4: {}}", "augment = {'D4': {}}: must be a list"),
        ("seed=-1", "seed = -1"),
        ("seed=2147483648", "seed = 2147483648"),
        ("tracking=off", "tracking = False; allowed: none, wandb, tensorboard; YAML takes yes, no, on and off"),
        ("competition=[x]", "competition = ['x']: must be a valid string"),
        ("fold=0", "unknown key 'fold'"),
    ],
)
def test_values_are_held_to_their_kind_and_range(small: Path, override: str, words: str) -> None:
    message = refused(small, override)
    assert message.startswith("command line: ") and words in message


def test_best_needs_looks_at_the_held_out_samples(small: Path) -> None:
    assert "train.keep = best needs train.evaluate_every" in refused(small, "train.keep=best", "train.evaluate_every=0")


def test_the_decision_must_have_its_channel(small: Path) -> None:
    assert "decide.kind = watershed needs the channel 'body'" in refused(small, "model.channels=[border]")
    assert "decide.kind = threshold needs the channel 'x'" in refused(small, "decide={kind: threshold, channel: x}")
    settings = load_settings(small, ("model.channels=[a, b]", "decide={kind: threshold, channel: b}"))
    assert settings.decide == ThresholdConfig(channel="b")
    assert load_settings(small, ("model.channels=[a]", "decide.kind=threshold")).decide == ThresholdConfig()


def test_the_kind_of_the_model_is_one_override(small: Path) -> None:
    assert load_settings(small, ("model.kind=fpn",)).model == SmpConfig(kind="fpn", encoder="e", channels=("body",))
    overrides = ("model.channels=[body]", "model.filters=8", "model.kind=ternausnet11")
    assert load_settings(small, overrides).model == TernausConfig(kind="ternausnet11", channels=("body",), filters=8)
    assert "unknown key 'model.encoder'" in refused(small, *overrides, "model.encoder=e")


def test_settings_are_frozen_to_the_leaves(small: Path) -> None:
    settings = load_settings(small)
    for part, key in ((settings, "seed"), *((getattr(settings, name), "kind") for name in ("model", "decide", "task"))):
        with pytest.raises(ValueError, match="frozen"):
            setattr(part, key, 1)


def test_settings_are_read_without_torch(small: Path) -> None:
    code = f"import pathlib, sys, medalist.settings as s; s.load_settings(pathlib.Path({str(small)!r}))"
    subprocess.run([sys.executable, "-c", f"{code}; sys.exit('torch' in sys.modules)"], check=True)
