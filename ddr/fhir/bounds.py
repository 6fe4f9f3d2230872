"""How much a document from outside may hold: seen before or while it is parsed, because bytes do not bound work. Pure.

16 KB of gzip hold millions of empty elements. What is counted here is what parsers make objects of; an honest upload
of 50,000 readings has some 200,000.
"""

from __future__ import annotations

MOST_VALUES = 250_000  # of a JSON document
MOST_ELEMENTS = 250_000  # of an XML document, together with their attributes
MOST_DEPTH = 100  # of an XML document; the parsers of JSON have their own limit
MOST_DIGITS = 100  # of one number: enough for every quantity, and nothing is computed with longer ones


class TooMuch(ValueError):
    """A document beyond a bound; the text says which and is safe to show."""


def check_json(body: bytes) -> None:
    """Raise TooMuch for a JSON text of more than MOST_VALUES values: objects, arrays, and what stands behind commas.

    Those inside of texts count, too: telling them apart would be the parsing that this is to spare.
    """
    # so few bytes cannot hold more
    if len(body) > MOST_VALUES and sum(map(body.count, (b",", b"[", b"{"))) > MOST_VALUES:
        raise TooMuch(f"The document has more than {MOST_VALUES} values")
