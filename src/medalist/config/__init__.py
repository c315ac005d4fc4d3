"""Config files: from YAML to frozen, checked values."""

from medalist.config.layers import (
    ConfigLayers,
    differences,
    dump_config,
    load_config,
    parse_config,
    read_layers,
    saved_layers,
    with_present_names,
)
from medalist.config.model import ConfigModel
from medalist.config.own import OwnConfig, kind_or, own_parts_in
from medalist.config.said import as_said, dump_changed, means_same

__all__ = [
    "ConfigLayers",
    "ConfigModel",
    "OwnConfig",
    "as_said",
    "differences",
    "dump_changed",
    "dump_config",
    "kind_or",
    "load_config",
    "means_same",
    "own_parts_in",
    "parse_config",
    "read_layers",
    "saved_layers",
    "with_present_names",
]
