"""How the networks of this kind are exported: implements `tasks.protocols.Exporting`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from pydantic import TypeAdapter
from torch import Tensor

from medalist.competition import Competition
from medalist.config import OwnConfig
from medalist.engine.view_settings import views_of
from medalist.runs.runs import Run
from medalist.tasks.exported import ExportPlan, refuse_own, turns_of
from medalist.tasks.scored import scored_decide
from medalist.tasks.segment.answering import regressor_of
from medalist.tasks.segment.conditions import condition_of
from medalist.tasks.segment.deciding import roles_of
from medalist.tasks.segment.outputs import heads_of
from medalist.tasks.segment.predictor import SegmentNetworks
from medalist.tasks.segment.settings import SegmentDecide, SegmentSettings
from medalist.tasks.segment.task import SegmentTask


def plan(networks: SegmentNetworks, run: Run, settings: SegmentSettings, competition: Competition) -> ExportPlan:
    """Return how these networks are exported: logits and probabilities of any multiples of the stride."""
    config, stride, told = settings.predict, settings.model.stride, condition_of(settings.model)
    task = networks.task

    how: SegmentDecide = scored_decide(run, TypeAdapter(SegmentDecide), settings.decide)
    undecided = refuse_own(how)
    return ExportPlan(
        models=networks.models,
        normalisation=networks.normalisation,
        said=said_of(task),
        names=("logits", "maps"),
        sized=(True, True),
        size=None,
        item=networks.item,
        alone=lambda at: replace(networks, models=(networks.models[at],)),
        multiple=stride,
        planes=0 if told is None else len(told.values),
        described={
            "form": "maps",
            "columns": task.outputs,
            "multiple": stride,
            "tile": None if config.tile is None else config.tile.model_dump(),
            "views": turns_of(views_of(config.tta, config.scales), None),
            "decide": None if undecided else _decision(run, how, settings, competition),
            "undecided": undecided,
        },
    )


def said_of(task: SegmentTask) -> Callable[[Any], tuple[Tensor, ...]]:
    """Return the function from what a network returns to its logits and its probabilities."""

    def said(outputs: Any) -> tuple[Tensor, ...]:
        return heads_of(outputs).maps.float(), task.probabilities(outputs)

    return said


def _decision(run: Run, how: SegmentDecide, settings: SegmentSettings, competition: Competition) -> dict[str, Any]:
    assert not isinstance(how, OwnConfig)
    roles, regressor = roles_of(how, settings, competition), regressor_of(run, how)
    return {
        "decide": how.model_dump(mode="json"),
        "roles": None if roles is None else {"numbers": dict(roles.numbers), "background": roles.background},
        "regressor": None if regressor is None else {"names": list(regressor.names), "texts": list(regressor.texts)},
    }
