"""Search identities by their mentions. Mentions can be added and removed at any time, without a new training.

A mention is one named vector of an identity. An identity is compared by the set of its mentions (its score is that of
its nearest mention), or by their mean (one vector, which is computed again whenever a mention is added or removed).

Rows are only ever added to the index here. A row that is no longer needed stays in the index and is marked as dead. A
search asks the index for more rows than it needs, drops the dead ones, and asks again until enough are left. When more
than a quarter of the rows is dead, the index is built again from the living rows. So an update costs as much as adding
its rows, and sometimes as much as a build.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medalist.errors import SearchError
from medalist.search.answers import Hits
from medalist.search.checks import check_aim, check_k
from medalist.search.embeddings import Embeddings, refuse_twice, shown
from medalist.search.fields import IDENTITY
from medalist.search.gallery import Gallery
from medalist.search.ids import parse_ids
from medalist.search.index import Index
from medalist.search.select import by_index, choose
from medalist.search.vectors import as_queries, as_vectors, whole

How = Literal["set", "mean"]
Vector = NDArray[np.float32]

DEAD = 0.25
"""The share of dead rows above which the index is built again."""

NO_DIRECTION = 1e-4
"""A mean of unit vectors that is shorter than this has no useful direction, because its mentions cancel out."""


class Entities:
    """Identities that are searched by vectors. Several threads may call it; the calls wait for one another."""

    def __init__(self, dim: int, how: How = "set") -> None:
        """Make an empty collection for vectors of `dim` components.

        how: how an identity is compared: by the "set" of its mentions, or by their "mean". Raises SearchError.
        """
        if how not in get_args(How):
            raise SearchError(f"how={how!r}: expected 'set' or 'mean'")
        self.how: How = how
        self._index, self._lock = Index(dim), threading.RLock()
        self._identity_of: dict[str, str] = {}  # mention -> its identity
        self._members: dict[str, dict[str, Vector]] = {}  # identity -> its mentions in order, as unit vectors
        self._numbers: dict[str, int] = {}  # identity -> its number, which groups its rows
        self._next = 0
        self._keys: list[str] = []  # row -> its mention, or its identity where rows are means
        self._row_of: dict[str, int] = {}  # key of a living row -> the row
        self._group: NDArray[np.int64] = np.empty(0, np.int64)  # row -> the number of its identity; dead: -1

    @property
    def dim(self) -> int:
        """The number of components of a vector."""
        return self._index.dim

    def __len__(self) -> int:
        """The number of identities."""
        return len(self._members)

    @property
    def dead(self) -> int:
        """The number of dead rows in the index."""
        return len(self._keys) - len(self._row_of)

    def mentions(self, identity: str) -> tuple[str, ...]:
        """Return the mentions of an identity in the order they were added. Raises SearchError where it is not known."""
        with self._lock:
            return tuple(self._known(identity))

    def identity_of(self, mention: str) -> str:
        """Return the identity of a mention. Raises SearchError where the mention is not known."""
        with self._lock:
            if mention not in self._identity_of:
                raise SearchError(f"no mention {mention!r:.60}; there are {len(self._identity_of)}")
            return self._identity_of[mention]

    def add(self, identities: str | Sequence[str], mentions: str | Sequence[str], vectors: ArrayLike) -> None:
        """Add one mention with a vector [dim], or n mentions with vectors [n, dim]: all of them or none.

        identities: the identity of each mention. Only the direction of a vector counts; its length may be anything
        above 0. Raises SearchError for mentions that are known already or given twice, for vectors that are not
        valid, and, where rows are means, for mentions that cancel out.
        """
        whose, names = ([one] if isinstance(one, str) else list(one) for one in (identities, mentions))
        array = np.asarray(vectors)[None] if isinstance(mentions, str) else vectors
        rows = as_vectors(array, self.dim, "cosine")
        for what in (whose, names):
            if len(rows) and not isinstance(parse_ids(what, len(rows)), list):
                raise SearchError("identities and mentions are strings; use str(id)")
        refuse_twice(names)
        with self._lock:
            held = [name for name in names if name in self._identity_of]
            if held:
                raise SearchError(f"mentions: {len(held)} are there already: {shown(held)}; remove them first")
            units = unit(rows)
            changed: dict[str, dict[str, Vector]] = {}
            for who, name, vector in zip(whose, names, units, strict=True):
                changed.setdefault(who, dict(self._members.get(who, {})))[name] = vector
            if self.how == "set":
                self._put(names, whose, units)
            else:
                means = self._means(changed)
                self._kill(who for who in changed if who in self._row_of)
                self._put(list(changed), list(changed), means)
            self._members.update(changed)
            self._identity_of.update(zip(names, whose, strict=True))
            self._clean()

    def remove(self, mentions: str | Sequence[str]) -> None:
        """Remove mentions, all or none; an identity without mentions is removed too.

        Raises SearchError, which names the mentions that are not known.
        """
        names = [mentions] if isinstance(mentions, str) else list(mentions)
        refuse_twice(names)
        with self._lock:
            missing = [name for name in names if name not in self._identity_of]
            if missing:
                raise SearchError(f"mentions: {len(missing)} of {len(names)} are not there: {shown(missing)}")
            gone = set(names)
            touched = dict.fromkeys(self._identity_of[name] for name in names)
            changed = {
                who: {name: vector for name, vector in self._members[who].items() if name not in gone}
                for who in touched
            }
            left = {who: held for who, held in changed.items() if held}
            if self.how == "set":
                self._kill(names)
            else:
                means = self._means(left)
                self._kill(touched)
                self._put(list(left), list(left), means)
            for name in names:
                del self._identity_of[name]
            for who, held in changed.items():
                if held:
                    self._members[who] = held
                else:
                    del self._members[who], self._numbers[who]
            self._clean()

    def remove_identity(self, identity: str) -> None:
        """Remove an identity with all its mentions. Raises SearchError where it is not known."""
        with self._lock:
            self.remove(list(self._known(identity)))

    def search(
        self,
        queries: ArrayLike,
        k: int = 10,
        *,
        per: int | None = None,
        recall: float | None = None,
        exact: bool = False,
        threads: int = 1,
    ) -> Hits:
        """Return the k nearest identities of each query [n, dim] or [dim], by their best mention or their mean.

        `per`: return mentions instead of identities, at most `per` of one identity; not possible for means. There are
        always k answers, or all that exist where they are fewer; Hits are padded then. `recall`, `exact`: as
        `Index.search`, `Index.exact`. Raises SearchError.
        """
        matrix, single = as_queries(queries, self.dim, "cosine")
        k = check_k(k)
        check_aim(None, recall)
        if per is not None and self.how == "mean":
            raise SearchError("per: identities are means here, and no mention is compared; make them with how='set'")
        most = 1 if per is None else whole(per, "per", 1, 2**31)
        with self._lock:
            found = choose(by_index(self._index, recall, threads), matrix, k, self._group, most, exact)
            names = [self._keys[row] if row >= 0 else "" for row in found.rows.ravel().tolist()]
            if per is None and self.how == "set":
                names = [self._identity_of[name] if name else "" for name in names]
        ids = np.array(names, np.str_).reshape(found.rows.shape)
        if single:
            return Hits(ids[0], found.scores[0], found.counts[0].reshape(()), "cosine")
        return Hits(ids, found.scores, found.counts, "cosine")

    def save(self, folder: Path, made_by: Mapping[str, str]) -> Gallery:
        """Write all mentions as a gallery with the field `identity`. `made_by`: the provenance, as in Embeddings."""
        with self._lock:
            flat = [(name, who, vector) for who, held in self._members.items() for name, vector in held.items()]
        vectors = np.array([vector for _, _, vector in flat], np.float32).reshape(len(flat), self.dim)
        embeddings = Embeddings(tuple(name for name, _, _ in flat), vectors, made_by)
        return Gallery.create(folder, embeddings, {IDENTITY: [who for _, who, _ in flat]})

    @classmethod
    def open(cls, gallery: Gallery, how: How = "set") -> Entities:
        """Return the identities of a gallery by its field `identity`; a vector without a value is its own identity.

        Raises SearchError where the gallery has no such field.
        """
        if IDENTITY not in gallery.fields:
            raise SearchError(f"{gallery.folder}: no field '{IDENTITY}'; build it with --fields FILE.csv that has it")
        made = cls(gallery.dim, how)
        names: list[str] = gallery.index.ids().tolist()
        cells = [row.get(IDENTITY, [name])[0] for name, row in zip(names, gallery.index.get(names), strict=True)]
        made.add(cells, names, gallery.index.vectors(names))
        return made

    def _known(self, identity: str) -> dict[str, Vector]:
        if identity not in self._members:
            raise SearchError(f"no identity {identity!r:.60}; there are {len(self._members)}")
        return self._members[identity]

    def _means(self, changed: Mapping[str, Mapping[str, Vector]]) -> Vector:
        """The mean vector of each identity's mentions, float32[n, dim]; SearchError where mentions cancel out."""
        means = np.empty((len(changed), self.dim), np.float32)
        for row, (who, held) in enumerate(changed.items()):
            mean = np.mean(list(held.values()), axis=0, dtype=np.float64)
            if np.linalg.norm(mean) < NO_DIRECTION:
                raise SearchError(f"identity {who!r:.60}: its {len(held)} mentions cancel out; use how='set'")
            means[row] = mean
        return means

    def _put(self, keys: Sequence[str], identities: Sequence[str], vectors: Vector) -> None:
        """Add rows to the index. Where the index refuses them, nothing here has changed."""
        start = len(self._keys)
        self._index.add(None, vectors)
        for who in identities:
            if who not in self._numbers:
                self._numbers[who] = self._next
                self._next += 1
        numbers = np.array([self._numbers[who] for who in identities], np.int64)
        self._group = np.concatenate([self._group, numbers])
        self._keys.extend(keys)
        self._row_of.update(zip(keys, range(start, start + len(keys)), strict=True))

    def _kill(self, keys: Iterable[str]) -> None:
        """Mark rows as dead."""
        rows = [self._row_of.pop(key) for key in keys]
        self._group[rows] = -1

    def _clean(self) -> None:
        """Build the index again from the living rows, in their order, where too many rows are dead."""
        if self.dead <= DEAD * len(self._keys):
            return
        living = list(self._row_of)  # in the order of their rows
        whose = [self._identity_of[key] for key in living] if self.how == "set" else living
        self._index = Index(self.dim)
        self._numbers, self._next, self._keys, self._row_of = {}, 0, [], {}
        self._group = np.empty(0, np.int64)
        if living and self.how == "set":
            vectors = np.array([self._members[who][key] for key, who in zip(living, whose, strict=True)], np.float32)
            self._put(living, whose, vectors)
        elif living:
            self._put(living, whose, self._means({who: self._members[who] for who in living}))


def unit(rows: Vector) -> Vector:
    """Return rows scaled to length 1: float32[n, dim], computed in float64. Their lengths must be above 0."""
    wide = rows.astype(np.float64)
    return np.asarray(wide / np.linalg.norm(wide, axis=1, keepdims=True), np.float32)
