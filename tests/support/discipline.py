"""Can a single server answer a statement once the tables are spread over several? Judged from its text.

Tables of patient data are spread by patient, directories by their look-up key: a Pairing ID, a login, the hash of a
token (docs/scaling.md). A statement with `patient_id = $n` for each such table, and `key = $n` for each directory, runs
on one server; one that only joins them with each other may ask all. The parser understands this project's SQL.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Union

from ddr.store.database.placing import PLACES, Where, spread
from tests.support.capture import Executed
from tests.support.fan_out import JOBS, allowed

Node = Union[str, "list[Node]"]
"""A word, or the content of parentheses."""

Asked = list[tuple[str, str]]
"""Tables with the aliases that a statement gives them."""

# The column by which statements of a request name each table; other tables are left out.
PLACED = {table: place.by for table, place in PLACES.items() if place.by is not None}
_TOKEN = re.compile(
    r"--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'|\"[^\"]*\"|\$\d+|[A-Za-z_][\w.]*|\d[\w.]*|::|[(),]|[^\s\w(),]", re.S
)
_CHANGED = re.compile(r"\bINSERT\s+INTO\s+(\w+)(?:(?!\bINSERT\b).)*?\bON\s+CONFLICT\b(.*?)(?:\bRETURNING\b|$)", re.S)
_ASKED = re.compile(r"\b(?:FROM|JOIN|INTO|UPDATE|USING)\s+(?:public\.)?([a-z_]+)")
_UNION = re.compile(r"\bUNION\b")
_CLOCK = re.compile(r"\b(?:clock_timestamp|statement_timestamp|now)\(\)")
_STATEMENTS = {"SELECT", "WITH", "INSERT", "UPDATE", "DELETE", "VALUES", "TABLE"}
_UNIONS = {"UNION", "INTERSECT", "EXCEPT"}
_ENDS = {"WHERE", "GROUP", "ORDER", "LIMIT", "SET", "RETURNING", "HAVING", "WINDOW", "FOR", "OFFSET", "FETCH"}
_LOCKS = {"UPDATE", "NO", "SHARE", "KEY"}
_JOINS = {"JOIN", "LEFT", "RIGHT", "FULL", "INNER", "CROSS", "NATURAL"}
_NO_ALIAS = _ENDS | _UNIONS | _JOINS | {"ON", "USING", "VALUES", "DEFAULT", "TABLESAMPLE"}


def undisciplined(statements: Iterable[Executed]) -> list[str]:
    """What is wrong with these statements, apart from the listed exceptions."""
    exceptions, jobs, told = set(allowed()), set(JOBS), []
    for query, name, on_request in statements:
        if name in jobs and (held := locked(query)):
            told.append(f"{name} locks rows of several servers at once: {', '.join(held)}")
        if name in jobs and columnless(query):
            told.append(f"{name} asks several servers for rows without columns")
        if name in exceptions and not (on_request and name in jobs):
            continue
        if clocked(query):
            told.append(f"{name} says a clock in ON CONFLICT")
        if len(tables := apart(query)) > 1:
            told.append(f"{name} asks at once what lies apart: {', '.join(sorted(tables))}")
        if not (found := unnamed(query)):
            continue
        what = " and ".join(f"`{PLACED[table]} = $n` of {table}" for table in found)
        told.append(
            f"{name} is a job in the list, and a request executes it" if name in jobs else f"{name} does not say {what}"
        )
    return told


def unnamed(sql: str, *, locking: bool = False) -> list[str]:
    """The tables that this statement queries without naming their distribution column by a parameter; with `locking`,
    those whose rows it locks."""
    tokens = [token for token in _TOKEN.findall(sql) if not token.startswith(("--", "/*"))]
    tables = frozenset(PLACED)
    return sorted(set(chain.from_iterable(_of(block, tables, True, locking) for block in _split(_tree(tokens), ";"))))


def locked(sql: str) -> list[str]:
    """The tables whose rows this statement locks wherever they are, which Citus rejects."""
    return [table for table in unnamed(sql, locking=True) if table in spread()]


def columnless(sql: str) -> bool:
    """True for a SELECT whose only table is that of an inner `SELECT FROM` with rows on several servers: Citus stores
    the inner result, and cannot read it again without a column."""
    whole = _tree(token for token in _TOKEN.findall(sql) if not token.startswith(("--", "/*")))
    within = [node for node in whole if isinstance(node, list)]
    return (
        _word(whole, 0) == "SELECT"
        and "FROM" not in whole
        and any(
            (_word(block, 0), _word(block, 1)) == ("SELECT", "FROM") and [*_of(block, frozenset(spread()))]
            for block in within
        )
    )


def clocked(sql: str) -> bool:
    """True when a conflicting row is updated from a clock, which Citus rejects: the row is on another server."""
    return any(table in spread() and _CLOCK.search(change) for table, change in _CHANGED.findall(sql))


def apart(sql: str) -> set[str]:
    """One table for each place that this statement queries: a patient's tables are together, each directory is
    separate.

    The parts of a UNION are queried one by one.
    """
    tokens = " ".join(token for token in _TOKEN.findall(sql) if not token.startswith(("--", "/*", "'")))
    asked = [{table for table in _ASKED.findall(part) if table in spread()} for part in _UNION.split(tokens)]
    places = [{table if PLACES[table].where is Where.KEY else "patient" for table in part} for part in asked]
    return max(places, key=len)


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


def _split(nodes: Iterable[Node], *words: str) -> Iterator[list[Node]]:
    """The text between these words, which may be empty."""
    part: list[Node] = []
    for node in nodes:
        if isinstance(node, str) and node.upper() in words:
            yield part
            part = []
        else:
            part.append(node)
    yield part


def _word(nodes: Sequence[Node], at: int) -> str:
    """The keyword there, upper case; empty for parentheses or beyond the end."""
    return node.upper() if 0 <= at < len(nodes) and isinstance(node := nodes[at], str) else ""


def _table(nodes: Sequence[Node], at: int) -> str:
    """The name of a table there, without its schema."""
    return _word(nodes, at).replace('"', "").lower().rpartition(".")[2]


def _of(block: list[Node], tables: frozenset[str], whole: bool = False, locking: bool = False) -> Iterator[str]:
    """The tables of a statement, or of an expression with inner statements. A name from WITH hides a table of that
    name."""
    if whole or _word(block, 0) in _STATEMENTS:
        tables -= frozenset(_given(block))
        for part in _split(block, *_UNIONS):
            if not locking or _locks(part):
                yield from _of_part(_without_groups(part), tables)
    for node in block:
        if isinstance(node, list):
            yield from _of(node, tables, locking=locking)


def _locks(part: Sequence[Node]) -> bool:
    """`FOR UPDATE` and its like."""
    return any(_word(part, at) == "FOR" and _word(part, at + 1) in _LOCKS for at in range(len(part)))


def _given(block: Sequence[Node]) -> Iterator[str]:
    """The names of common table expressions."""
    for at in range(len(block)):
        after = at + 1 + (at + 1 < len(block) and isinstance(block[at + 1], list))  # names of columns
        if _word(block, at - 1) in ("WITH", "RECURSIVE", ",") and _word(block, after) == "AS":
            yield str(block[at]).lower()


def _without_groups(part: Sequence[Node]) -> list[Node]:
    """The statement with parentheses around joins removed."""
    found: list[Node] = []
    for node in part:
        before = _word(found, len(found) - 1)
        joins = isinstance(node, list) and _word(node, 0) not in _STATEMENTS and (
            before in ("FROM", "JOIN", "LATERAL")
            or (before == "," and any(_word(node, at) == "JOIN" for at in range(len(node))))
        )  # fmt: skip
        if joins and isinstance(node, list):
            found.extend(_without_groups(node))
        else:
            found.append(node)
    return found


def _of_part(part: list[Node], tables: frozenset[str]) -> Iterator[str]:
    asked, inserted = _asked(part, tables)
    for table, alias in asked:
        names = {f"{alias}.{PLACED[table]}"} | ({PLACED[table]} if len(asked) == 1 else set())
        if not any(_binds(condition, names) for condition in _conditions(part, alias)):
            yield table
    if inserted is not None and (into := _table(part, inserted)) in tables and not _inserts(part, inserted, into):
        yield into


def _asked(part: Sequence[Node], tables: frozenset[str]) -> tuple[Asked, int | None]:
    """Tables with their aliases, and the position of the table's name in an INSERT."""
    found: Asked = []
    inserted, in_from = None, False
    for at in range(len(part)):
        word, before = _word(part, at), _word(part, at - 1)
        if word == "INTO":
            inserted = at + 1
        if word in _ENDS:
            in_from = False
        begins = (word == "FROM" and before != "DISTINCT") or word in ("TABLE", "COPY")
        in_from = in_from or begins
        more = word == "JOIN" or (word == "USING" and _word(part, at + 1)) or (word == "," and in_from)
        if begins or more or (word == "UPDATE" and before not in ("FOR", "KEY", "DO")):
            name = at + 1 + (_word(part, at + 1) in ("ONLY", "LATERAL"))
            if (table := _table(part, name)) in tables:
                found.append((table, _alias(part, name) or table))
    return found, inserted


def _alias(part: Sequence[Node], name: int) -> str:
    """The alias of the table there; empty when it has none."""
    word = _word(part, name + 1 + (_word(part, name + 1) == "AS"))
    return word.lower() if word.isidentifier() and word not in _NO_ALIAS else ""


def _conditions(part: Sequence[Node], alias: str) -> Iterator[list[Node]]:
    """What must be true of each row of the table with this alias: the WHERE clause, and the ON of its own JOIN."""
    joined = ""
    for at in range(len(part)):
        word = _word(part, at)
        if word == "ON" and _word(part, at + 1) == "CONFLICT":
            return
        if word == "JOIN":
            name = at + 1 + (_word(part, at + 1) in ("ONLY", "LATERAL"))
            joined = _alias(part, name) or _table(part, name)
        if word == "WHERE" or (word == "ON" and joined == alias):
            end = next(
                (to for to in range(at + 1, len(part)) if _word(part, to) in _ENDS | _JOINS | {"ON", ","}), len(part)
            )
            yield list(part[at + 1 : end])


def _binds(condition: Sequence[Node], names: set[str]) -> bool:
    """True when the condition holds only for rows whose column, one of `names`, equals a parameter: `= $1`, or `$1
    =`."""
    if any(_word(condition, at) == "OR" for at in range(len(condition))):
        return False
    for one in _split(condition, "AND"):
        if len(one) == 1 and isinstance(one[0], list) and _binds(one[0], names):
            return True
        sides = [list(side) for side in _split(one, "=")]
        if len(sides) == 2 and any(
            len(column) == 1 and _word(column, 0).lower() in names and _is_parameter(given)
            for column, given in (sides, sides[::-1])
        ):
            return True
    return False


def _is_parameter(nodes: Sequence[Node]) -> bool:
    """`$1`, or `$1::uuid`."""
    return _word(nodes, 0).startswith("$") and (len(nodes) == 1 or (len(nodes) == 3 and nodes[1] == "::"))


def _inserts(part: Sequence[Node], at: int, table: str) -> bool:
    """True when the distribution column is one parameter in all inserted rows."""
    columns = next((node for node in part[at : at + 4] if isinstance(node, list)), None)
    given = [str(node).lower() for node in columns if node != ","] if columns else []
    place = given.index(PLACED[table]) if PLACED[table] in given else 0
    for index in range(at, len(part)):
        if _word(part, index) == "VALUES":
            end = next((to for to in range(index, len(part)) if _word(part, to) in ("ON", "RETURNING")), len(part))
            rows = {_item(node, place) for node in part[index + 1 : end] if isinstance(node, list)}
            return len(rows) == 1 and rows.pop().startswith("$")
        if _word(part, index) == "SELECT":
            return _item(part[index + 1 :], place).startswith("$")
    return False


def _item(nodes: Sequence[Node], place: int) -> str:
    """The first word of the item at this position of a list."""
    items = list(_split(nodes, ","))
    return _word(items[place], 0) if place < len(items) else ""
