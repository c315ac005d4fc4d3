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
from medalist.config.said import as_said, dump_changed, means_same

__all__ = [
    "ConfigLayers",
    "ConfigModel",
    "as_said",
    "differences",
    "dump_changed",
    "dump_config",
    "load_config",
    "means_same",
    "parse_config",
    "read_layers",
    "saved_layers",
    "with_present_names",
]
