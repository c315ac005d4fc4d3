"""The decisions of exported networks of this kind: implements `tasks.protocols.Deploying`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from medalist.errors import RunError
from medalist.postprocess.classes import ClassRoles
from medalist.postprocess.decide import decide
from medalist.postprocess.settings import DecideConfig
from medalist.records import Answer, MapPrediction, Prediction


def decider_from(described: Mapping[str, Any]) -> Callable[[Prediction], Answer]:
    """Return the function that makes a mask or instances from maps; RunError where it is damaged."""
    try:
        how = TypeAdapter[DecideConfig](DecideConfig).validate_json(json.dumps(described["decide"]))
        roles, kept = described["roles"], described["regressor"]
        known = None if roles is None else ClassRoles(_numbers(roles["numbers"]), bool(roles["background"]))
        regressor = None
        if kept is not None:
            from medalist.postprocess.regressor import Regressor  # here, because most decisions have none

            regressor = Regressor(tuple(map(str, kept["names"])), tuple(map(str, kept["texts"])))
        if regressor is None and getattr(how, "second_stage", None) is not None:
            raise ValueError("no regressor")
    except (ValidationError, TypeError, ValueError, LookupError, AttributeError):
        raise RunError("export.json: its decision is damaged; write the export again with medalist export") from None

    def decided(prediction: Prediction) -> Answer:
        assert isinstance(prediction, MapPrediction)
        return decide(prediction, how, roles=known, regressor=regressor)

    return decided


def _numbers(value: Mapping[str, Any]) -> dict[str, int]:
    numbers = {str(name): int(number) for name, number in value.items()}
    if not numbers or not all(0 <= number <= 254 for number in numbers.values()):
        raise ValueError("roles")
    return numbers
