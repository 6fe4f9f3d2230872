"""Files that are complete or do not exist."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from ddr.drafts import OWN, alone_in, draft
from ddr.reasons import in_words
from tests.support.full_disk import full_after


def test_what_breaks_off_leaves_what_was_there(tmp_path: Path) -> None:
    file = tmp_path / "report"
    for before in ([], [file]):
        with pytest.raises(KeyboardInterrupt), draft(file) as out:
            out.write(b"half")
            out.flush()
            raise KeyboardInterrupt
        assert list(tmp_path.iterdir()) == before
        file.write_bytes(b"former")
    assert file.read_bytes() == b"former"


def test_a_disk_without_room_is_told_with_the_file(tmp_path: Path) -> None:
    """The kernel says so without a name. What a block does besides keeps its own error."""
    file, other = tmp_path / "report", tmp_path / "other"
    other.touch()
    with full_after(other, 4), pytest.raises(OSError) as met, draft(file) as out:
        out.write(b"more than four bytes")
    assert in_words(met.value, named=True) == f"{file}: File too large"
    with pytest.raises(OSError) as met, draft(Path("/dev/full")) as out:
        out.write(b"any")
    assert in_words(met.value, named=True) == "/dev/full: No space left on device"
    with pytest.raises(ConnectionError) as refused, draft(file):
        raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
    assert in_words(refused.value, named=True) == "Connection refused"
    assert list(tmp_path.iterdir()) == [other]


def test_two_at_once_are_whole(tmp_path: Path) -> None:
    file = tmp_path / "answer"
    with draft(file, OWN) as one:
        one.write(b"first, ")
        with draft(file, OWN) as other:
            other.write(b"second")
        assert file.read_bytes() == b"second"
        one.write(b"and longer")
    assert file.read_bytes() == b"first, and longer" and file.stat().st_mode & 0o777 == OWN
    assert list(tmp_path.iterdir()) == [file]


def test_what_is_no_ordinary_file_stays_what_it_is(tmp_path: Path) -> None:
    """A device, and what a link names."""
    null = Path("/dev/null")
    with draft(null) as out:
        out.write(b"gone")
    assert null.is_char_device()
    link, file = tmp_path / "link", tmp_path / "file"
    link.symlink_to(file)
    with draft(link) as out:
        out.write(b"kept")
    assert link.is_symlink() and file.read_bytes() == b"kept"
    with pytest.raises(IsADirectoryError), draft(tmp_path):
        pass


def test_one_is_alone_in_a_folder(tmp_path: Path) -> None:
    with alone_in(tmp_path), pytest.raises(BlockingIOError, match="somebody else"), alone_in(tmp_path):
        pass
    with alone_in(tmp_path, patient=True):
        pass
