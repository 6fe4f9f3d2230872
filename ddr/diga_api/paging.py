"""Links to further pages: opaque, authenticated, expiring, and useful only to the pairing that got them (RS-038).

The first page fixes the list of what follows (ddr/store/search/pages.py), so paging is not affected by new data. A link
contains a short list itself, and refers to a long one.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ddr.base64url import decoded, encoded
from ddr.diga_api.short_list import packed, unpacked
from ddr.fhir.outcome import FhirError
from ddr.fhir.search.query import Include, Search
from ddr.fhir.subset import WHOLE, Subset
from ddr.store.search.pages import Keys, RestPage

PARAMETER = "_page"
# What clients add to a link although the first page has settled it (Medplum sends _count); it has no effect.
SETTLED = frozenset({"_count", "_total", "_summary", "_elements"})
_NONCE = 12


@dataclass(frozen=True)
class Page:
    """A later page: `count` items from `offset` of a rest of `length` items; `total` matches in all, None: not told.

    `keys` are those of this page and of all that follow, for a list that is not stored. `asked` are the MIVs that the
    search asked for, None for all that the DiGA may read: a page shows no others.

    `at_ms` is the Bundle.meta.lastUpdated of the first page. In a search by `_lastUpdated` (`polled`), what has changed
    since is left to the next search: no entry may have a newer timestamp than something that was missed.
    """

    resource_type: str
    rest_no: int | None
    offset: int
    count: int
    length: int
    total: int | None
    includes: tuple[Include, ...]
    revincludes: tuple[Include, ...]
    expires_ms: int
    at_ms: int
    polled: bool
    subset: Subset = WHOLE
    keys: Keys = ()
    asked: Sequence[str] | None = None

    @property
    def rest(self) -> RestPage:
        """The part of the rest that this page shows."""
        until_ms = self.at_ms if self.polled else None
        return RestPage(self.rest_no, self.offset, self.count, until_ms, self.keys[: self.count])

    @property
    def search(self) -> Search:
        """The parts of the search that a later page needs."""
        includes, revincludes = frozenset(self.includes), frozenset(self.revincludes)
        return Search(self.resource_type, includes=includes, revincludes=revincludes, subset=self.subset)

    def next(self) -> Page | None:
        """The page after this one, or None."""
        offset = self.offset + self.count
        return replace(self, offset=offset, keys=self.keys[self.count :]) if offset < self.length else None


class PageLinks:
    """Seals pages into links and opens them again."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def seal(self, page: Page, holder: str) -> str:
        """The text of a link for `holder` (pairing and client)."""
        nonce = secrets.token_bytes(_NONCE)
        # The previous version does not know `asked`, but can continue a search for all MIVs.
        content = orjson.dumps({k: v for k, v in vars(replace(page, keys=())).items() if k != "asked" or v is not None})
        plain = len(content).to_bytes(4, "big") + content + packed(page.keys)
        sealed = self._cipher.encrypt(nonce, plain, holder.encode())
        return encoded(nonce + sealed)

    def open(self, text: str, holder: str, now_ms: int) -> Page:
        """The page of a link. Raises FhirError 400 for any other text or holder, 410 for an old link."""
        try:
            sealed = decoded(text)
            page = _page(self._cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], holder.encode()))
        except (InvalidTag, ValueError):
            raise FhirError(400, "processing", "The link to a further page is not valid") from None
        if page.expires_ms <= now_ms:
            raise FhirError(410, "processing", "The link to a further page has expired; repeat the search")
        return page


def _page(plain: bytes) -> Page:
    end = 4 + int.from_bytes(plain[:4], "big")
    content: dict[str, Any] = orjson.loads(plain[4:end])
    try:
        for name in ("includes", "revincludes"):
            content[name] = tuple(Include(**include) for include in content[name])
        summary, elements = content["subset"].values()
        return Page(**{**content, "subset": Subset(summary, tuple(elements)), "keys": unpacked(plain[end:])})
    except (KeyError, TypeError):  # a link from another version of this server
        raise ValueError from None
