"""Settings in the words of the file that said them, so that a key which came later does not count as a change."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from medalist.config.layers import dump_tree, with_present_names
from medalist.config.model import ConfigModel


def as_said(settings: ConfigModel, before: ConfigModel | None = None) -> dict[str, Any]:
    """Return settings as JSON values, with the old names of renamed keys, as hashes and provenance need them.

    before: settings of the same model that were read from a file. A key that the file does not say is left out where
    it has its default. So a version of medalist that has more keys returns the same values for the file. With None all
    keys are returned.
    """
    old_names = {new: old for old, new in type(settings).renamed.items()}
    values = settings.model_dump(mode="json")
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        was_said = before is None or name in before.model_fields_set
        if not was_said and value == field.get_default(call_default_factory=True):
            del values[name]
            continue
        earlier = getattr(before, name) if before is not None and was_said else None
        match value:
            case ConfigModel():
                values[name] = as_said(value, _alike(earlier, value))
            case tuple(items) if any(isinstance(one, ConfigModel) for one in items):
                pairs = earlier if isinstance(earlier, tuple) and len(earlier) == len(items) else [None] * len(items)
                values[name] = [
                    as_said(one, _alike(pair, one)) if isinstance(one, ConfigModel) else plain
                    for one, pair, plain in zip(items, pairs, values[name], strict=True)
                ]
    return {old_names.get(name, name): value for name, value in values.items()}


def _alike(earlier: object, settings: ConfigModel) -> ConfigModel | None:
    """Return the earlier settings, or None where they are of another model and so have other keys."""
    return earlier if isinstance(earlier, ConfigModel) and type(earlier) is type(settings) else None


def means_same(values: Mapping[str, Any], settings: ConfigModel) -> bool:
    """Return whether JSON values that were saved earlier mean these settings.

    A key that came later has its default there. The old names of renamed keys count too.
    """
    try:
        return type(settings).model_validate_json(json.dumps(with_present_names(values, type(settings)))) == settings
    except ValidationError:
        return False


def dump_changed(before: BaseModel, settings: BaseModel, sections: Collection[str]) -> str:
    """Return a saved config as YAML text with these sections taken from `settings`.

    All other sections say only the keys that `before` was read from.
    """
    said = before.model_dump(mode="json", exclude_unset=True, exclude=set(sections))
    values = {**said, **settings.model_dump(mode="json", include=set(sections))}
    return dump_tree({name: values[name] for name in type(settings).model_fields if name in values})
