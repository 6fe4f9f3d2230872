"""How much a document from outside may contain, checked before or during parsing: bytes do not bound work. Pure.

16 KB of gzip can contain millions of empty elements. What is counted here is what parsers turn into objects; an honest
upload of 50,000 readings has some 200,000.
"""

from __future__ import annotations

MOST_VALUES = 250_000  # of a JSON document
MOST_ELEMENTS = 250_000  # of an XML document, together with their attributes
MOST_DEPTH = 100  # of an XML document; the parsers of JSON have their own limit
MOST_DIGITS = 100  # of one number: enough for every quantity; longer ones are not used in calculations


class TooMuch(ValueError):
    """A document exceeds a bound; the text says which one and is safe to show."""


def check_json(body: bytes) -> None:
    """Raise TooMuch for a JSON text with more than MOST_VALUES values: objects, arrays, and what follows commas.

    Those inside strings count, too: telling them apart would require the parsing that this is meant to avoid.
    """
    # A text this short cannot contain more.
    if len(body) > MOST_VALUES and sum(map(body.count, (b",", b"[", b"{"))) > MOST_VALUES:
        raise TooMuch(f"The document has more than {MOST_VALUES} values")
