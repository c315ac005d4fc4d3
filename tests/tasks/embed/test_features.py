"""The names of kept features outlive new settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import create_model

from medalist.data.settings import FitConfig
from medalist.files import sha256_json
from medalist.kinds import load_settings
from medalist.models.weights import Resolved
from medalist.tasks.embed.features import ALWAYS, made_of

CONFIG = """\
competition: humpback_whale
task: {kind: embed}
image: {size: [32, 48], invert: true}
model: {encoder: test_resnet, frozen: true, pooling: avg, dim: 8}
loss: {terms: [{kind: arcface}]}
"""


def test_a_later_key_of_image_counts_where_it_changes_something(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(CONFIG)
    settings: Any = load_settings(tmp_path / "c.yaml")
    weights = Resolved("test_resnet", tmp_path / "w.safetensors", "ab12", "local")
    now = made_of(settings, weights, [])
    assert now["image"] == settings.image.model_dump(mode="json") and now["image"].keys() == ALWAYS
    later = create_model("FitConfig", __base__=FitConfig, gamma=(float, 1.0))
    images = [later(**settings.image.model_dump(), gamma=gamma) for gamma in (1.0, 2.0)]
    made = [made_of(settings.model_copy(update={"image": image}), weights, []) for image in images]
    assert sha256_json(made[0]) == sha256_json(now) and made[1]["image"] == {**now["image"], "gamma": 2.0}
