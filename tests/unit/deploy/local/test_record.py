"""The stack's record: what is written is read, and what is no record is said."""

import fcntl
from pathlib import Path

import pytest

from deploy.local import record
from deploy.local.errors import StackError
from deploy.local.processes import Process
from deploy.local.record import Record, ServerRecord

KNOWN = Record(
    {
        "kafka": ServerRecord({"broker": 21_000, "controller": 21_001}, Process(123, "boot/456")),
        "cassandra": ServerRecord({"native": 21_002, "storage": 21_003}),
    }
)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    record.write(tmp_path, KNOWN)
    assert record.read(tmp_path) == KNOWN
    assert [path.name for path in tmp_path.iterdir()] == ["stack.json"]


def test_a_folder_without_a_stack_has_an_empty_record(tmp_path: Path) -> None:
    assert record.read(tmp_path) == Record()
    assert record.read(tmp_path / "missing") == Record()


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"servers": []}', '{"servers": {"kafka": {}}}', '{"servers": {"kafka": 1}}']
)
def test_another_file_is_named_with_what_to_do(tmp_path: Path, text: str) -> None:
    (tmp_path / "stack.json").write_text(text)
    with pytest.raises(StackError, match=r"stack\.json is not a stack's record .* delete that folder"):
        record.read(tmp_path)


def test_a_held_lock_keeps_others_out_until_it_is_let_go(tmp_path: Path) -> None:
    with (tmp_path / "stack.lock").open("w") as other:
        with record.locked(tmp_path), pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
