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

__all__ = [
    "ConfigLayers",
    "ConfigModel",
    "differences",
    "dump_config",
    "load_config",
    "parse_config",
    "read_layers",
    "saved_layers",
    "with_present_names",
]
