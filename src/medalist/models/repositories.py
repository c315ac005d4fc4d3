"""Find the weights of whole networks in the layout of Hugging Face: a folder with `model.safetensors`.

The order is that of `models.weights`: an explicit path, the project's folder `weights/`, the hub's own cache, and the
hub, unless MEDALIST_OFFLINE=1.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import huggingface_hub

from medalist.errors import WeightsError
from medalist.models.hubs import HubError, require_reachable
from medalist.system import offline

Source = Literal["path", "folder", "package", "cache", "hub"]
"""Where weights were found."""

FILE = "model.safetensors"
"""The file of the weights. Other forms can hold more than tensors, and are not read."""

ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9][A-Za-z0-9_.-]*")


def find_repository(name: str, kept: Path) -> tuple[Path, Source]:
    """Return the file of weights that `name` means, and where it was found.

    name: a folder, its file, or `owner/name` of a hub page. kept: the folder `weights/`, where `owner/name` is looked
    for under `name`. Raises WeightsError, which says which file is needed and where to put it.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return path, "path"
    if path.is_dir():
        if (path / FILE).is_file():
            return path / FILE, "path"
        raise WeightsError(f"weights '{name}' is a folder without {FILE}; give the folder that has this file")
    if not ID.fullmatch(name):
        raise WeightsError(
            f"weights '{name}' is no file and no folder here ({Path.cwd()}), and no id of the hub; an id is owner/name"
        )
    target = kept / name.partition("/")[2] / FILE
    if target.is_file():
        return target, "folder"
    cached = huggingface_hub.try_to_load_from_cache(name, FILE)
    if isinstance(cached, str):
        return Path(cached), "cache"
    remedy = f"put {FILE} of the hub page {name} at {target}"
    if offline():
        raise WeightsError(f"no weights for '{name}' and MEDALIST_OFFLINE=1: {remedy}")
    try:
        require_reachable(huggingface_hub.constants.ENDPOINT)
        return Path(huggingface_hub.hf_hub_download(name, FILE)), "hub"
    except HubError as error:
        raise WeightsError(f"no weights for '{name}' in {kept} and in the hub's cache, and {error}: {remedy}") from None
    except (OSError, RuntimeError, ValueError) as error:
        raise WeightsError(f"no weights for '{name}' ({type(error).__name__} from the hub): {remedy}") from error
