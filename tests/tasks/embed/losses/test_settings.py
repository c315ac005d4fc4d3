from __future__ import annotations

import subprocess
import sys

import pytest

from medalist.config import dump_config, parse_config
from medalist.errors import ConfigError
from medalist.tasks.embed.losses.settings import MarginTerm, MetricLossConfig, TripletTerm


def read(text: str) -> MetricLossConfig:
    return parse_config(text, "x.yaml", MetricLossConfig)


def test_a_sum_of_terms_is_read_and_written() -> None:
    config = read("terms: [{kind: arcface, margin: 0.4}, {kind: triplet, weight: 0.5, memory: 100}]")
    assert config.terms == (
        MarginTerm(kind="arcface", margin=0.4),
        TripletTerm(kind="triplet", weight=0.5, memory=100, miner="semihard"),
    )
    assert read(dump_config(config)) == config


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("terms: []", "x.yaml: terms = []: "),
        ("terms: {kind: triplet}", "x.yaml: terms = {'kind': 'triplet'}: must be a list"),
        ("terms: [{margin: 0.3}]", "x.yaml: key 'terms.0.kind' is missing"),
        ("terms: [{kind: arcfase}]", "terms.0.kind = 'arcfase'; allowed: arcface, cosface, triplet, contrastive, "),
        ("terms: [{kind: arcfase}]", "prototype; did you mean 'arcface'?"),
        (
            "terms: [{kind: arcface, margn: 1}]",
            "unknown key 'terms.0.margn' (value 1); allowed here: by_size, kind, least, ",
        ),
        ("terms: [{kind: arcface, margin: 28.6}]", "terms.0.margin = 28.6: must be less than or equal to 1.5"),
        ("terms: [{kind: arcface, smoothing: 1.0}]", "terms.0.smoothing = 1.0: must be less than 1"),
        ("terms: [{kind: arcface, prototypes: 0}]", "terms.0.prototypes = 0: must be greater than or equal to 1"),
        (
            "terms: [{kind: cosface, by_size: log, margin: 0.1, least: 0.2}]",
            "terms.0: least = 0.2 is above margin = 0.1: common classes get the smaller one",
        ),
        ("terms: [{kind: triplet}, {kind: triplet}]", "the term 'triplet' is there twice; keep one of them"),
        (
            "terms: [{kind: arcface}, {kind: cosface}]",
            "'arcface' and 'cosface' both make class prototypes; keep one of them",
        ),
        ("terms: [{kind: triplet, miner: semi}]", "terms.0.miner = 'semi'; allowed: none, hard, semihard, "),
        ("terms: [{kind: triplet, weight: 0}]", "terms.0.weight = 0: must be greater than 0"),
        ("terms: [{kind: supcon, memory: -1}]", "terms.0.memory = -1: must be greater than or equal to 0"),
        ("terms: [{kind: siamese, miner: hard}]", "unknown key 'terms.0.miner' (value 'hard'); allowed here: kind, "),
        ("terms: [{kind: prototype, shots: 0}]", "terms.0.shots = 0: must be greater than or equal to 1"),
        ("terms: [{kind: proxy_nca, scale: .nan}]", "nan is not a finite number"),
    ],
)
def test_refused_in_one_line_that_says_where_and_what(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        read(text)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_least_above_margin_does_not_matter_with_one_margin_for_all() -> None:
    assert MarginTerm(kind="arcface", margin=0.0).least == 0.05


def test_settings_are_torch_free() -> None:
    code = "import sys, medalist.tasks.embed.losses.settings; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
