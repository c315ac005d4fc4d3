"""What the sample submission shows of an answer that ranks names: how many, and names of what."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from medalist.discovery.look import Look
from medalist.discovery.tables import NUMBER


@dataclass(frozen=True)
class Ranked:
    """An answer that ranks names.

    depth: the most names of a cell. told: a line for the user. confident: whether a cell is one name and a number.
    samples: whether the names are images. new: a name that stands for new identities.
    """

    depth: int
    told: str
    confident: bool = False
    samples: bool = False
    new: str | None = None


def ranked_names(look: Look, identities: Collection[str]) -> Ranked | None:
    """Return how the sample submission ranks names; None where its cells are no names of identities or images."""
    asked, test = look.asked()
    if asked is None or len(asked.table.columns) != 2:
        return None
    cells = [cell.split() for cell in asked.table.some(asked.table.others(asked.id_column)[0])]
    words = [word for one in cells for word in one]
    most = max(map(len, cells))
    if most == 2 and all(len(one) == 2 and one[0] in identities and _is_share(one[1]) for one in cells if one):
        return Ranked(1, "the sample submission names one identity and a confidence in a cell", confident=True)
    images = {name for one in look.sets for name in one.files}
    if most > 1 and test is not None and sum(word in images for word in words) > 0.9 * len(words):
        return Ranked(most, f"the sample submission ranks {most} images in a cell", samples=True)
    new = next((word for word in dict.fromkeys(words) if word.lower().startswith("new")), None)
    known = sum(word in identities or word == new for word in words)
    if most > 1 and known > 0.3 * len(words):
        return Ranked(most, f"the sample submission ranks {most} names in a cell", new=new)
    return None


def _is_share(word: str) -> bool:
    return bool(NUMBER.fullmatch(word)) and 0 <= float(word) <= 1
