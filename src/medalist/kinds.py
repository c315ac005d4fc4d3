"""The one table of the kinds of contests. Configs are read by the settings type of their kind.

Outside of `tasks/` no other file names a kind. The modules of a kind are imported only when they are needed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from medalist.config import ConfigLayers, read_layers, saved_layers
from medalist.errors import ConfigError, RunError
from medalist.processors import collector_paused

if TYPE_CHECKING:
    from medalist.experiment import Experiment
    from medalist.records import Answer, Prediction
    from medalist.runs.runs import Run
    from medalist.tasks.protocols import Answering, Deploying, Embedding, Exporting, Predicting, Training, Viewing


@dataclass(frozen=True)
class Kind:
    """The parts of a kind of contest. Each field is a function that imports the part and returns it.

    settings: the type of the kind's configs. answering: its torch-free part. training: its part that imports torch.
    predicting: its part that predicts single images; None where the kind has no networks. embedding: its part that
    turns images into vectors for galleries; None where the kind makes no vectors. viewing: its part that measures views
    of test-time augmentation; None where the kind has none. exporting: its part that says how its networks are
    exported, and deploying: the torch-free part that decides what exported networks predict; None where they are not.
    """

    settings: Callable[[], type[Experiment]]
    answering: Callable[[], Answering]
    training: Callable[[], Training]
    predicting: Callable[[], Predicting] | None = None
    embedding: Callable[[], Embedding] | None = None
    viewing: Callable[[], Viewing] | None = None
    exporting: Callable[[], Exporting] | None = None
    deploying: Callable[[], Deploying] | None = None


def _segment_settings() -> type[Experiment]:
    from medalist.tasks.segment.settings import SegmentSettings

    return SegmentSettings


def _segment_answering() -> Answering:
    from medalist.tasks.segment import answering

    return answering


@collector_paused()
def _segment_training() -> Training:
    from medalist.tasks.segment import training

    return training


@collector_paused()
def _segment_predicting() -> Predicting:
    from medalist.tasks.segment import predictor

    return predictor


@collector_paused()
def _segment_viewing() -> Viewing:
    from medalist.tasks.segment import view_trial

    return view_trial


@collector_paused()
def _segment_exporting() -> Exporting:
    from medalist.tasks.segment import exporting

    return exporting


def _segment_deploying() -> Deploying:
    from medalist.tasks.segment import deploying

    return deploying


def _embed_settings() -> type[Experiment]:
    from medalist.tasks.embed.settings import EmbedSettings

    return EmbedSettings


def _embed_answering() -> Answering:
    from medalist.tasks.embed import answering

    return answering


@collector_paused()
def _embed_training() -> Training:
    from medalist.tasks.embed import training

    return training


@collector_paused()
def _embed_predicting() -> Predicting:
    from medalist.tasks.embed import predictor

    return predictor


@collector_paused()
def _embed_embedding() -> Embedding:
    from medalist.tasks.embed import embedding

    return embedding


@collector_paused()
def _embed_exporting() -> Exporting:
    from medalist.tasks.embed import exporting

    return exporting


def _classify_settings() -> type[Experiment]:
    from medalist.tasks.classify.settings import ClassifySettings

    return ClassifySettings


def _classify_answering() -> Answering:
    from medalist.tasks.classify import answering

    return answering


@collector_paused()
def _classify_training() -> Training:
    from medalist.tasks.classify import training

    return training


@collector_paused()
def _classify_predicting() -> Predicting:
    from medalist.tasks.classify import predictor

    return predictor


@collector_paused()
def _classify_exporting() -> Exporting:
    from medalist.tasks.classify import exporting

    return exporting


def _classify_deploying() -> Deploying:
    from medalist.tasks.classify import deploying

    return deploying


def _detect_settings() -> type[Experiment]:
    from medalist.tasks.detect.settings import DetectSettings

    return DetectSettings


def _detect_answering() -> Answering:
    from medalist.tasks.detect import answering

    return answering


@collector_paused()
def _detect_training() -> Training:
    from medalist.tasks.detect import training

    return training


@collector_paused()
def _detect_predicting() -> Predicting:
    from medalist.tasks.detect import predictor

    return predictor


@collector_paused()
def _detect_exporting() -> Exporting:
    from medalist.tasks.detect import exporting

    return exporting


def _detect_deploying() -> Deploying:
    from medalist.tasks.detect import deploying

    return deploying


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "segment": Kind(
            _segment_settings,
            _segment_answering,
            _segment_training,
            _segment_predicting,
            viewing=_segment_viewing,
            exporting=_segment_exporting,
            deploying=_segment_deploying,
        ),
        "embed": Kind(
            _embed_settings,
            _embed_answering,
            _embed_training,
            _embed_predicting,
            _embed_embedding,
            exporting=_embed_exporting,
        ),
        "classify": Kind(
            _classify_settings,
            _classify_answering,
            _classify_training,
            _classify_predicting,
            exporting=_classify_exporting,
            deploying=_classify_deploying,
        ),
        "detect": Kind(
            _detect_settings,
            _detect_answering,
            _detect_training,
            _detect_predicting,
            exporting=_detect_exporting,
            deploying=_detect_deploying,
        ),
    }
)

DEFAULT_KIND = "segment"
"""The kind of a config that does not set `task.kind`."""


def kind_of(settings: Experiment) -> Kind:
    """Return the kind of a config that was read."""
    return KINDS[settings.task.kind]


def decider_of(kind: str) -> Callable[[Mapping[str, Any]], Callable[[Prediction], Answer]]:
    """Return the function of a kind that makes a decision from what `export.json` says of it. Torch-free.

    Raises RunError where there is no such kind, or where its predictions are not decided outside of a run.
    """
    deploying = KINDS[kind].deploying if kind in KINDS else None
    if deploying is None:
        raise RunError(f"the export says the kind '{kind:.60}', which decides nothing here; export the run again")
    return deploying().decider_from


def load_settings(path: Path, overrides: tuple[str, ...] = ()) -> Experiment:
    """Read a config file with its base and overrides. Raises ConfigError, which says in one line what to correct."""
    return _checked(read_layers(path, overrides))


def parse_settings(text: str, source: str) -> Experiment:
    """Check a resolved config that was saved with a run. `source` names the config in errors. Raises ConfigError."""
    return _checked(saved_layers(text, source))


def run_settings(run: Run) -> Experiment:
    """Return the resolved config of a run. Raises RunError where there is none, ConfigError where it is damaged."""
    return parse_settings(run.config(), str(run.folder / "config.yaml"))


def answering_of(run: Run) -> Answering:
    """Return the `Answering` of a run's kind, which its config names."""
    return kind_of(run_settings(run)).answering()


def embedding_of(run: Run, settings: Experiment) -> Embedding:
    """Return the `Embedding` of a run's kind. Raises RunError where it makes no vectors, or the config was edited.

    settings: the run's own, without changes.
    """
    from medalist.runs.runs import refuse_edited  # imported here, because reading a config does not need runs

    embedding = kind_of(settings).embedding
    if embedding is None:
        able = " or ".join(name for name, kind in KINDS.items() if kind.embedding is not None)
        raise RunError(f"{run.folder} makes no embeddings; take a run with task.kind = {able}")
    refuse_edited(run, settings)
    return embedding()


def _checked(layers: ConfigLayers) -> Experiment:
    name = layers.value("task", "kind")
    if name is None:
        name = DEFAULT_KIND
    if not isinstance(name, str) or name not in KINDS:
        near = get_close_matches(str(name), KINDS, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        source = layers.source("task", "kind")
        raise ConfigError(f"{source}: task.kind = {name!r:.60}; there are: {', '.join(KINDS)}{hint}")
    return layers.check(KINDS[name].settings())
