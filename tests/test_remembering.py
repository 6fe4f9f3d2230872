"""A worker's caches are bounded: in number by recent use, in size by the length of texts."""

from __future__ import annotations

from ddr.remembering import Newest, of_short_texts


def test_what_was_used_last_is_remembered() -> None:
    known: Newest[str, int] = Newest(2)
    known.put("a", 1)
    known.put("b", 2)
    assert known.get("a") == 1
    known.put("c", 3)
    assert [known.get(key) for key in "abc"] == [1, None, 3]
    known.put("a", 4)
    known.put("d", 5)
    assert [known.get(key) for key in "acd"] == [4, None, 5]
    known.forget("a")
    known.forget("a")
    assert known.get("a") is None


def test_short_texts_are_read_once_and_long_ones_each_time() -> None:
    read = []

    @of_short_texts(most=2, longest=3)
    def length(text: str) -> int:
        read.append(text)
        return len(text)

    assert [length(text) for text in ("abc", "abc", "abcd", "abcd")] == [3, 3, 4, 4]
    assert read == ["abc", "abcd", "abcd"]
    for text in ("d", "e", "abc"):
        length(text)
    assert read[3:] == ["d", "e", "abc"]
