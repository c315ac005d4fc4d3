"""The decisions of exported networks of this kind: implements `tasks.protocols.Deploying`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from medalist.errors import RunError
from medalist.postprocess.box_settings import BoxDecideConfig
from medalist.postprocess.boxes import decide
from medalist.records import Answer, BoxPrediction, Prediction


def decider_from(described: Mapping[str, Any]) -> Callable[[Prediction], Answer]:
    """Return the function that makes an answer from predicted boxes; RunError where it is damaged."""
    try:
        how = TypeAdapter[BoxDecideConfig](BoxDecideConfig).validate_json(json.dumps(described["decide"]))
        classes = tuple(map(str, described["classes"]))
    except (ValidationError, TypeError, ValueError, LookupError):
        raise RunError("export.json: its decision is damaged; write the export again with medalist export") from None

    def decided(prediction: Prediction) -> Answer:
        assert isinstance(prediction, BoxPrediction)
        return decide(prediction, how, classes)

    return decided
