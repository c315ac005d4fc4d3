"""The one table of the kinds of contests, and configs read as their kind says.

Nothing else outside of `tasks/` names a kind. A kind's modules are imported when they are asked for, and no other's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from medalist.config import ConfigLayers, read_layers, saved_layers
from medalist.errors import ConfigError, RunError

if TYPE_CHECKING:
    from medalist.experiment import Experiment
    from medalist.runs.runs import Run
    from medalist.tasks.protocols import Answering, Embedding, Training


@dataclass(frozen=True)
class Kind:
    """What a kind of contest brings, each part imported by the function that gives it.

    settings: the type of its configs. answering: torch-free. training: torch begins behind it. embedding: of kinds
    whose networks make vectors that galleries hold; None for others.
    """

    settings: Callable[[], type[Experiment]]
    answering: Callable[[], Answering]
    training: Callable[[], Training]
    embedding: Callable[[], Embedding] | None = None


def _segment_settings() -> type[Experiment]:
    from medalist.tasks.segment.settings import SegmentSettings

    return SegmentSettings


def _segment_answering() -> Answering:
    from medalist.tasks.segment import answering

    return answering


def _segment_training() -> Training:
    from medalist.tasks.segment import training

    return training


def _embed_settings() -> type[Experiment]:
    from medalist.tasks.embed.settings import EmbedSettings

    return EmbedSettings


def _embed_answering() -> Answering:
    from medalist.tasks.embed import answering

    return answering


def _embed_training() -> Training:
    from medalist.tasks.embed import training

    return training


def _embed_embedding() -> Embedding:
    from medalist.tasks.embed import embedding

    return embedding


def _classify_settings() -> type[Experiment]:
    from medalist.tasks.classify.settings import ClassifySettings

    return ClassifySettings


def _classify_answering() -> Answering:
    from medalist.tasks.classify import answering

    return answering


def _classify_training() -> Training:
    from medalist.tasks.classify import training

    return training


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "segment": Kind(_segment_settings, _segment_answering, _segment_training),
        "embed": Kind(_embed_settings, _embed_answering, _embed_training, _embed_embedding),
        "classify": Kind(_classify_settings, _classify_answering, _classify_training),
    }
)

DEFAULT_KIND = "segment"
"""The kind of a config that names none."""


def kind_of(settings: Experiment) -> Kind:
    """The kind of a config that was read."""
    return KINDS[settings.task.kind]


def load_settings(path: Path, overrides: tuple[str, ...] = ()) -> Experiment:
    """Read a config file with its base and overrides; ConfigError is one line that says what to mend."""
    return _checked(read_layers(path, overrides))


def parse_settings(text: str, source: str) -> Experiment:
    """Check a resolved config that was saved with a run; `source` names it in errors."""
    return _checked(saved_layers(text, source))


def run_settings(run: Run) -> Experiment:
    """The resolved config that a run was trained with; RunError where there is none, ConfigError for a damaged one."""
    return parse_settings(run.config(), str(run.folder / "config.yaml"))


def answering_of(run: Run) -> Answering:
    """What answers for a run, by its config."""
    return kind_of(run_settings(run)).answering()


def embedding_of(run: Run, settings: Experiment) -> Embedding:
    """What turns images into a run's vectors; RunError where its kind makes none."""
    embedding = kind_of(settings).embedding
    if embedding is None:
        able = " or ".join(name for name, kind in KINDS.items() if kind.embedding is not None)
        raise RunError(f"{run.folder} makes no embeddings; take a run with task.kind = {able}")
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
