"""Does a statement name its patient by parameter on every table of patient data? Judged from its text.

Beyond one server the tables are spread by patient (docs/scaling.md): a statement that says `patient_id = $n` of each of
them runs on one server; one that only joins them with each other may ask all. The parser knows the SQL of this project.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Union

from ddr.store.database.migrate import migrations
from tests.support.fan_out import allowed

Node = Union[str, "list[Node]"]
"""A word, or what stands in parentheses."""

_TOKEN = re.compile(
    r"--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'|\"[^\"]*\"|\$\d+|[A-Za-z_][\w.]*|\d[\w.]*|::|[(),]|[^\s\w(),]", re.S
)
_CREATE = re.compile(r"CREATE TABLE (?:IF NOT EXISTS )?(\w+) \((.*?);\n", re.S)
_PLACED = re.compile(r"PRIMARY KEY \(patient_id\b|\bpatient_id\s+uuid\b[^,\n]*PRIMARY KEY")
_STATEMENTS = {"SELECT", "WITH", "INSERT", "UPDATE", "DELETE"}
_UNIONS = {"UNION", "INTERSECT", "EXCEPT"}
_ENDS = {"WHERE", "GROUP", "ORDER", "LIMIT", "SET", "RETURNING", "HAVING", "WINDOW", "FOR", "OFFSET", "FETCH"}
_NO_ALIAS = _ENDS | _UNIONS | {
    "ON", "JOIN", "LEFT", "RIGHT", "FULL", "INNER", "CROSS", "NATURAL", "USING", "VALUES", "DEFAULT", "TABLESAMPLE",
}  # fmt: skip


@cache
def patient_tables() -> frozenset[str]:
    """The tables that are spread by patient: their primary key begins with the patient's."""
    text = "\n".join(f"{each.sql}\n" for each in migrations())
    return frozenset(name for name, body in _CREATE.findall(text) if _PLACED.search(body))


def undisciplined(statements: Iterable[tuple[str, str]]) -> list[str]:
    """What is wrong with these statements, given with the function that executes each, by the list of exceptions."""
    exceptions = set(allowed())
    return [
        f"{name} does not say `patient_id = $n` of {', '.join(found)}"
        for query, name in statements
        if name not in exceptions and (found := unnamed(query))
    ]


def unnamed(sql: str) -> list[str]:
    """The tables of patient data that this statement asks without naming the patient by a parameter."""
    root = _tree([token for token in _TOKEN.findall(sql) if not token.startswith(("--", "/*"))])
    return sorted(set(_of(root, patient_tables())))


def _tree(tokens: Iterable[str]) -> list[Node]:
    stack: list[list[Node]] = [[]]
    for token in tokens:
        if token == "(":
            stack.append([])
        elif token == ")":
            done = stack.pop()
            stack[-1].append(done)
        else:
            stack[-1].append(token)
    return stack[0]


def _word(nodes: Sequence[Node], at: int) -> str:
    """The keyword there, upper case; empty for what stands in parentheses or beyond the end."""
    return node.upper() if 0 <= at < len(nodes) and isinstance(node := nodes[at], str) else ""


def _of(block: list[Node], tables: frozenset[str]) -> Iterator[str]:
    """Of a statement, or of an expression with statements inside. What WITH gives a name hides a table of that name."""
    if _word(block, 0) in _STATEMENTS:
        tables -= frozenset(_given(block))
        for part in _parts(block):
            yield from _of_part(part, tables)
    for node in block:
        if isinstance(node, list):
            yield from _of(node, tables)


def _given(block: Sequence[Node]) -> Iterator[str]:
    """The names of common table expressions."""
    for at in range(len(block)):
        after = at + 1 + (at + 1 < len(block) and isinstance(block[at + 1], list))  # names of columns
        if _word(block, at - 1) in ("WITH", "RECURSIVE", ",") and _word(block, after) == "AS":
            yield str(block[at]).lower()


def _parts(block: Sequence[Node]) -> Iterator[list[Node]]:
    """The statements that UNION and its like connect."""
    part: list[Node] = []
    for at, node in enumerate(block):
        if _word(block, at) in _UNIONS:
            yield part
            part = []
        elif part or _word(block, at) not in ("ALL", "DISTINCT"):
            part.append(node)
    yield part


def _of_part(part: list[Node], tables: frozenset[str]) -> Iterator[str]:
    asked, inserted = _asked(part, tables)
    flat = list(_flat(part))
    for table, alias in asked:
        names = {f"{alias}.patient_id"} | ({"patient_id"} if len(asked) == 1 else set())
        if not any(_bound(flat, at) for at, token in enumerate(flat) if token.lower() in names):
            yield table
    if inserted is not None and (into := _word(part, inserted).lower()) in tables and not _inserts(part, inserted):
        yield into


def _asked(part: Sequence[Node], tables: frozenset[str]) -> tuple[list[tuple[str, str]], int | None]:
    """Tables with their aliases, and where the name of the table stands into which is inserted."""
    found: list[tuple[str, str]] = []
    inserted, in_from = None, False
    for at in range(len(part)):
        word, before = _word(part, at), _word(part, at - 1)
        if word == "INTO":
            inserted = at + 1
        if word in _ENDS:
            in_from = False
        begins = word == "FROM" and before != "DISTINCT"
        in_from = in_from or begins
        more = word == "JOIN" or (word == "USING" and _word(part, at + 1)) or (word == "," and in_from)
        if begins or more or (word == "UPDATE" and before not in ("FOR", "KEY", "DO")):
            name = at + 1 + (_word(part, at + 1) in ("ONLY", "LATERAL"))
            if (table := _word(part, name).lower()) in tables:
                alias = _word(part, name + 1 + (_word(part, name + 1) == "AS"))
                found.append((table, alias.lower() if alias.isidentifier() and alias not in _NO_ALIAS else table))
    return found, inserted


def _flat(nodes: Iterable[Node]) -> Iterator[str]:
    """The words of a statement without those of statements inside it."""
    for node in nodes:
        if isinstance(node, str):
            yield node
        elif _word(node, 0) not in _STATEMENTS:
            yield from _flat(node)


def _bound(flat: Sequence[str], at: int) -> bool:
    """True when the column there is compared with a parameter: `= $1`, or `$1 =` and `$1::uuid =` before it."""
    if flat[at + 1 : at + 2] == ["="]:
        return "".join(flat[at + 2 : at + 3]).startswith("$")
    left = list(flat[max(0, at - 4) : at])
    if left[-1:] != ["="]:
        return False
    left = left[:-3] if left[-3:-2] == ["::"] else left[:-1]
    return "".join(left[-1:]).startswith("$")


def _inserts(part: Sequence[Node], at: int) -> bool:
    """True when the patient's key is a parameter in what is inserted."""
    columns = next((node for node in part[at : at + 4] if isinstance(node, list)), None)
    given = [str(node).lower() for node in columns if node != ","] if columns else []
    place = given.index("patient_id") if "patient_id" in given else 0
    for index in range(at, len(part)):
        if _word(part, index) == "VALUES":
            row = next(node for node in part[index + 1 :] if isinstance(node, list))
            return _item(row, place).startswith("$")
        if _word(part, index) == "SELECT":
            return _item(part[index + 1 :], place).startswith("$")
    return False


def _item(nodes: Sequence[Node], place: int) -> str:
    """The first word of the item at this place of a list."""
    seen, begins = 0, True
    for node in nodes:
        if node == ",":
            seen, begins = seen + 1, True
        elif begins:
            if seen == place:
                return node if isinstance(node, str) else ""
            begins = False
    return ""
