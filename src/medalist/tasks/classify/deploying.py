"""The decisions of exported networks of this kind: implements `tasks.protocols.Deploying`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from medalist.config import OwnConfig
from medalist.errors import RunError
from medalist.records import Answer, Prediction, TablePrediction
from medalist.tasks.classify.decide import decide
from medalist.tasks.classify.decide_settings import DecideConfig


def decider_from(described: Mapping[str, Any]) -> Callable[[Prediction], Answer]:
    """Return the function that makes labels from probabilities or grades.

    Raises RunError where the description is damaged.
    """
    try:
        how = TypeAdapter[DecideConfig](DecideConfig).validate_json(json.dumps(described["decide"]))
        numbers, classes = np.array(described["numbers"], np.float64), tuple(map(str, described["classes"]))
        if isinstance(how, OwnConfig) or not classes or numbers.ndim != 1 or not np.isfinite(numbers).all():
            raise ValueError("numbers")
    except (ValidationError, TypeError, ValueError, LookupError):
        raise RunError("export.json: its decision is damaged; write the export again with medalist export") from None

    def decided(prediction: Prediction) -> Answer:
        assert isinstance(prediction, TablePrediction)
        return decide(prediction.values[np.newaxis].astype(np.float64), how, numbers, classes)[0]

    return decided
