from __future__ import annotations

from typing import Any

import pytest

from medalist.tasks.embed.model_settings import EmbedderConfig


def config(**changes: Any) -> EmbedderConfig:
    return EmbedderConfig.model_validate({"encoder": "test_resnet", "weights": "none", "dim": 8, **changes})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"dim": None}, "neck 'linear_bn' needs the number of components"),
        ({"neck": "bn"}, "leave out dim, or take neck: linear_bn"),
        ({"weights": "imagenet", "options": {"layers": [1]}}, "set weights: none"),
        ({"frozen": True}, "frozen keeps the encoder as it is, and weights: none leaves it random"),
    ],
)
def test_settings_that_do_not_fit_each_other_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        config(**changes)
