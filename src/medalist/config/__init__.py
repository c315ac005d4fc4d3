"""Config files: YAML to frozen values."""

from medalist.config.layers import (
    differences,
    dump_config,
    explicit_value,
    explicit_value_in,
    load_config,
    parse_config,
)
from medalist.config.model import ConfigModel

__all__ = [
    "ConfigModel",
    "differences",
    "dump_config",
    "explicit_value",
    "explicit_value_in",
    "load_config",
    "parse_config",
]
