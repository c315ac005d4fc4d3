from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest

from medalist.config import dump_config
from medalist.errors import ConfigError, RunError
from medalist.experiment import Experiment, Pretrained, TaskConfig
from medalist.kinds import (
    DEFAULT_KIND,
    KINDS,
    answering_of,
    embedding_of,
    kind_of,
    load_settings,
    parse_settings,
    run_settings,
)
from medalist.postprocess.settings import ThresholdConfig
from medalist.runs.runs import Run
from medalist.tasks.embed.settings import EmbedSettings
from medalist.tasks.protocols import Answering, Embedding, Training
from medalist.tasks.segment.model_settings import SmpConfig, TernausConfig
from medalist.tasks.segment.settings import SegmentConfig, SegmentSettings

PROJECT = Path(__file__).parent.parent
CONFIGS = sorted(path for path in (PROJECT / "configs").glob("*/*.yaml") if path.parent.name != "base")
SMALL = (
    "competition: x\nmodel: {kind: unet, encoder: e, channels: [body]}\nloss: {bce: 1.0}\ndecide: {kind: watershed}\n"
)
WHALES = """\
competition: humpback_whale
task: {kind: embed}
image: {size: [32, 48]}
model: {encoder: test_resnet, dim: 8}
loss: {terms: [{kind: arcface}]}
"""


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
        ("task.kind=caption", f"task.kind = 'caption'; there are: {', '.join(KINDS)}"),
        ("task.kind=segmnet", "; did you mean 'segment'?"),
        ("task.kind=[segment]", "task.kind = ['segment']; there are: "),
        ("task.kind=no", "task.kind = False; there are: "),
        ("task=segment", "task = 'segment': must be a block of 'key: value'"),
        ("task.border=0", "task.border = 0"),
        (
            "model.kind=unet++",
            "allowed: unet, unetplusplus, fpn, linknet, manet, pan",
        ),
        ("model.filters=8", "unknown key 'model.filters'"),
        ("model.channels=[]", "model.channels = []"),
        ("model.channels=[a, a]", "channel 'a' is there twice"),
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
    assert isinstance(settings.decide, ThresholdConfig) and settings.decide == ThresholdConfig(channel="b")
    assert load_settings(small, ("model.channels=[a]", "decide.kind=threshold")).decide.model_dump() == (
        ThresholdConfig().model_dump()
    )


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
    code = f"import pathlib, sys, medalist.kinds as k; k.load_settings(pathlib.Path({str(small)!r}))"
    subprocess.run([sys.executable, "-c", f"{code}; sys.exit('torch' in sys.modules)"], check=True)


# ------------------------------------------------------------------------------------------------- kinds


def test_a_config_that_names_no_kind_is_of_segmentation(small: Path, tmp_path: Path) -> None:
    settings = load_settings(small)
    assert isinstance(settings, SegmentSettings) and DEFAULT_KIND == settings.task.kind == "segment"
    assert parse_settings(SMALL, "x") == settings == load_settings(small, ("task.kind=segment",))
    assert parse_settings(SMALL.replace("competition", "task: {border: 3}\ncompetition"), "x").task == SegmentConfig(
        border=3
    )
    assert kind_of(settings) is KINDS["segment"]


@pytest.mark.parametrize("name", KINDS)
def test_each_kind_brings_its_settings_its_answers_and_its_training(name: str) -> None:
    kind = KINDS[name]
    assert issubclass(kind.settings(), Experiment)
    assert kind.settings().model_fields["task"].annotation.model_fields["kind"].annotation == Literal[name]  # type: ignore[union-attr]
    base = load_settings(PROJECT / "configs" / "base" / f"{name}.yaml", ("competition=x",))
    assert type(base) is kind.settings() and base.task.kind == name and kind_of(base) is kind
    assert parse_settings(dump_config(base), "x") == base
    answering, training = kind.answering(), kind.training()
    for part, protocol in ((answering, Answering), (training, Training)):
        assert all(callable(getattr(part, word)) for word in vars(protocol) if not word.startswith("_"))


def test_the_kinds_are_those_of_the_bases() -> None:
    assert sorted(KINDS) == sorted(path.stem for path in (PROJECT / "configs" / "base").glob("*.yaml"))


def test_the_layer_that_says_an_unknown_kind_is_named(small: Path, tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "mine.yaml").write_text("task: {kind: embd}\n")
    small.write_text("base: mine\n" + SMALL)
    where = tmp_path / "base" / "mine.yaml"
    assert (
        refused(small, "seed=1") == f"{where}: task.kind = 'embd'; there are: {', '.join(KINDS)}; did you mean 'embed'?"
    )
    small.write_text("task: {kind: embd}\n" + SMALL)
    assert refused(small).startswith(f"{small}: task.kind = 'embd'; ")
    with pytest.raises(ConfigError, match=r"^runs/x/config\.yaml: task\.kind = 'xyzzy'; there are: [a-z, ]+$"):
        parse_settings("task: {kind: xyzzy}\n" + SMALL, "runs/x/config.yaml")
    assert len(refused(small, f"task.kind={'x' * 5000}")) < 300


def test_the_kind_decides_which_keys_there_are(small: Path, tmp_path: Path) -> None:
    whales = tmp_path / "whales.yaml"
    whales.write_text(WHALES)
    assert isinstance(load_settings(whales), EmbedSettings)
    assert "unknown key 'task.turns'" in refused(small, "task.turns=true")
    assert "unknown key 'task.border'" in refused(whales, "task.border=3")
    assert "unknown key 'decide'" not in refused(small, "task.kind=embed")


def test_a_run_is_of_its_configs_kind(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run_of(name: str, text: str) -> Run:
        run = Run(tmp_path / "contest" / name)
        run.folder.mkdir(parents=True)
        (run.folder / "config.yaml").write_text(text)
        return run

    segment, embed = run_of("segment", SMALL), run_of("embed", WHALES)
    assert run_settings(segment) == load_settings(small)
    assert answering_of(segment) is KINDS["segment"].answering() and answering_of(embed) is KINDS["embed"].answering()
    monkeypatch.setattr("medalist.runs.runs.refuse_edited", lambda run, settings: None)  # these runs have no lock
    embedding = embedding_of(embed, run_settings(embed))
    assert all(callable(getattr(embedding, word)) for word in vars(Embedding) if not word.startswith("_"))
    with pytest.raises(RunError) as caught:
        embedding_of(segment, run_settings(segment))
    assert str(caught.value) == f"{segment.folder} makes no embeddings; take a run with task.kind = embed"
    with pytest.raises(ConfigError, match=r"config\.yaml: unknown key 'odd'"):
        run_settings(run_of("odd", SMALL + "odd: 1\n"))
    with pytest.raises(RunError, match=r"empty is not a run: config\.yaml: No such file"):
        run_settings(Run(tmp_path / "contest" / "empty"))


# ------------------------------------------------------------------------------------------------- settings


@pytest.fixture
def whales(tmp_path: Path) -> Path:
    path = tmp_path / "whales.yaml"
    path.write_text(WHALES)
    return path


def test_pretrained_weights_are_those_of_the_encoder(small: Path, whales: Path) -> None:
    assert load_settings(small).pretrained == Pretrained("e", "imagenet")
    assert load_settings(small, ("model.weights=none",)).pretrained == Pretrained("e", "none")
    ternaus = load_settings(small, ("model={kind: ternausnet16, channels: [body], weights: a/b}",))
    assert ternaus.pretrained == Pretrained("vgg16", "a/b")
    assert load_settings(whales, ("model.encoder=x", "model.weights=w")).pretrained == Pretrained("x", "w")
    assert Experiment(competition="x", task=TaskConfig(kind="x")).pretrained is None


def test_samples_of_a_batch(small: Path, whales: Path) -> None:
    assert load_settings(small, ("train.batch=6",)).batch_samples == 6
    assert load_settings(whales, ("train.batch=6",)).batch_samples == 6
    sampled = ("train.batch=6", "sampler={kind: pxk, classes: 5, per_class: 3}")
    assert load_settings(whales, sampled).batch_samples == 15


def test_another_batch_is_told_as_it_is_typed(small: Path, whales: Path) -> None:
    for path, overrides, double, expected in (
        (small, ("train.batch=3",), True, "train.batch=6"),
        (small, ("train.batch=3",), False, "train.batch=1"),
        (small, ("train.batch=1",), False, None),
        (whales, ("train.batch=8",), True, "train.batch=16"),
        (whales, ("sampler={kind: pxk, classes: 5, per_class: 3}",), True, "sampler.classes=10"),
        (whales, ("sampler={kind: group, classes: 5}",), False, "sampler.classes=2"),
        (whales, ("sampler={kind: pxk, classes: 3}",), False, None),
        (whales, ("sampler={kind: balanced, classes: 4096}",), True, None),
    ):
        found = load_settings(path, overrides).with_batch(double)
        assert (None if found is None else found[0]) == expected
        if found is not None:
            assert found[1] == load_settings(path, (*overrides, found[0]))


def test_sizes_are_worth_a_line_where_images_are_fitted(small: Path, whales: Path) -> None:
    assert load_settings(small).sizes_line == ""
    assert load_settings(whales).sizes_line == "training sees 48x32, prediction 48x32"
    assert load_settings(whales, ("image.train_size=[24, 32]",)).sizes_line == "training sees 32x24, prediction 48x32"
