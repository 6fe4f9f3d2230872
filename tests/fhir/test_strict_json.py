"""JSON has only one reading: input that other parsers would understand differently is rejected."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ddr.fhir.strict_json import BEYOND, NotJson, read, read_exact, whole, with_digits

# Texts that look like the end of a member's name, too.
TEXTS = st.text(st.sampled_from('a":, \\\t\n{}[]'), max_size=6)
CONTENTS = st.recursive(
    st.none() | st.booleans() | st.integers(-100, 100) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=10,
)
SEPARATORS = st.sampled_from([(",", ":"), (", ", ": "), (" , ", " : "), ("\n,", "\t:\r\n")])


@given(CONTENTS, SEPARATORS)
def test_what_is_certain_is_read_as_it_is(content: Any, separators: tuple[str, str]) -> None:
    body = json.dumps(content, separators=separators).encode()
    assert read(body) == read_exact(body) == content


@given(st.dictionaries(TEXTS, CONTENTS, min_size=1, max_size=3), CONTENTS, SEPARATORS, st.data())
def test_a_member_that_is_there_twice_is_refused_wherever_it_is(
    members: dict[str, Any], again: Any, separators: tuple[str, str], data: st.DataObject
) -> None:
    comma, colon = separators
    name = data.draw(st.sampled_from(sorted(members)))
    one = f"{json.dumps(name)}{colon}{json.dumps(again)}"
    body = json.dumps({"x": [members]}, separators=separators).replace("[{", f"[{{{one}{comma}", 1).encode()
    if orjson.loads(body) != {"x": [members]}:  # the text "[{" stood elsewhere
        return
    for reader in (read, read_exact):
        with pytest.raises(NotJson, match="more than once"):
            reader(body)


@pytest.mark.parametrize(
    "body",
    [b'{"value":100,"value":200}', b'{"value" : 100 , "value" : 200}', b'{"a":":","b":{"c":1,"\\u0063":1}}',
     b"\xef\xbb\xbf{}", b'{"a":1,}', b'{"a":NaN}', b'{"a":1e400,}', b'"\xff"', b"[" * 5000, b""],
)  # fmt: skip
def test_what_is_not_certain_is_refused(body: bytes) -> None:
    with pytest.raises(NotJson):
        read(body)


@pytest.mark.parametrize("depth", [500, 900, 1000, 1020, 20_000])  # Python reads 1,000 or 10,000
def test_what_is_nested_deeply_is_read_or_refused(depth: int) -> None:
    body = b'{"a":' * depth + b"1.0" + b"}" * depth
    for reader in (read, read_exact):
        try:
            reader(body)
        except NotJson as error:
            assert "nested too deeply" in str(error) or "depth" in str(error)


@pytest.mark.parametrize("text", [rb"\ud800", rb"\uDC00\ud83d", rb"a\udfffb"])
def test_half_a_character_is_refused(text: bytes) -> None:
    """No database and no XML can hold it."""
    for reader in (read, read_exact):
        with pytest.raises(NotJson):
            reader(b'{"a":"' + text + b'"}')
        assert reader(rb'{"a":"\ud83e\ude78"}') == {"a": "\U0001fa78"}


@pytest.mark.parametrize("number", [b"1e400", b"-1E+400", b"1.5e99999999999999999999", b"9" * 400, b"9" * 5000])
def test_a_number_that_no_double_holds_spoils_nothing_beside_it(number: bytes) -> None:
    body = b'{"a":[' + number + b',1,2.50,1e-400,"1e400"]}'
    assert read(body) == {"a": [BEYOND, 1, 2.5, 0.0, "1e400"]}
    beyond, *others = read_exact(body, with_digits, whole)["a"]
    assert (beyond, [str(other) for other in others]) == (BEYOND, ["1", "2.50", "1E-400", "1e400"])
    assert not isinstance(BEYOND, int | float | str)  # no member takes it for a value
