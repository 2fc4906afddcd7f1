"""JSON is checked by type and limit where it is read; every fault is one sentence."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Annotated, Any, Dict, List, Literal, Optional, TypedDict, Union

import pytest

from tfrecords.utils.errors import UserError
from tfrecords.utils.json_files import Limits, parse_json, read_json


class Entry(TypedDict):
    bytes: Annotated[int, Limits(0, 100)]


@dataclass
class Part:
    share: float


@dataclass
class Content:
    name: str
    kind: Literal["rgb", "flow"]
    counts: Dict[str, Annotated[int, Limits(0, 9)]]
    size: Optional[Annotated[List[int], Limits(2, 2)]]
    given: bool = False
    rest: Any = None
    entry: Entry = field(default_factory=lambda: Entry(bytes=1))
    parts: List[Part] = field(default_factory=list)
    either: Union[int, str, None] = None

    def __post_init__(self) -> None:
        if self.name == "nobody":
            raise ValueError("Expected a name. Received nobody.")


GOOD = {"name": "ä", "kind": "rgb", "counts": {"a": 0, "b": 9}, "size": None}


def test_what_is_right_is_read(tmp_path):
    path = tmp_path / "a.json"
    more = {"size": [1, 2], "entry": {"bytes": 7}, "parts": [{"share": 1}], "rest": [{"x": 0.5}]}
    path.write_text(json.dumps({**GOOD, **more, "new in a later version": 1}))
    read = read_json(path, Content)
    assert read == Content(
        "ä", "rgb", {"a": 0, "b": 9}, [1, 2], rest=[{"x": 0.5}], entry={"bytes": 7}, parts=[Part(1)]
    )
    assert parse_json(json.dumps(GOOD), Content, "x").size is None
    assert parse_json("[1, 2]", List[int], "x") == [1, 2]
    assert parse_json(b'{"a": null}', Dict[str, Any], "x") == {"a": None}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": 3}, "expected name to be a text, received 3"),
        ({"name": None}, "expected name to be a text, received None"),
        ({"name": "\ud800"}, r"expected name to be a text in Unicode, received '\\ud800'"),
        ({"name": "nobody"}, "Expected a name. Received nobody"),
        ({"kind": "x"}, "expected kind to be one of 'rgb', 'flow', received 'x'"),
        ({"counts": {"b": 10}}, "expected counts.b to be a whole number of 0 to 9, received 10"),
        ({"counts": {"b": -1}}, "received -1"),
        ({"counts": {"b": True}}, "expected counts.b to be a whole number, received True"),
        ({"counts": {"b": 1.0}}, "expected counts.b to be a whole number, received 1.0"),
        ({"counts": [1]}, r"expected counts to be an object, received \[1\]"),
        ({"counts": {"\udc00": 1}}, "expected a key of counts to be a text in Unicode"),
        ({"size": 24}, "expected size to be a list, received 24"),
        ({"size": [1]}, r"expected size to be a list of length 2, received \[1\]"),
        ({"size": [1, "2"]}, r"expected size\[1\] to be a whole number, received '2'"),
        ({"size": [1, 10**30]}, r"expected size\[1\] to be a number of 64 bits"),
        ({"given": 1}, "expected given to be true or false, received 1"),
        ({"entry": {}}, "expected the field entry.bytes, received none"),
        ({"entry": {"bytes": 101}}, "entry.bytes to be a whole number of 0 to 100"),
        ({"parts": [{"share": "x"}]}, r"expected parts\[0\].share to be a number, received 'x'"),
        ({"rest": [float("inf")]}, "expected finite numbers, received Infinity"),
        ({"either": 1.5}, "expected either to be a text, received 1.5"),
        ({"size": list(range(10**4))}, r"received \[0, 1, 2, 3, 4, 5, \.\.\.\]"),
    ],
)
def test_wrong_values_are_named(tmp_path, change, message):
    path = tmp_path / "a.json"
    path.write_text(json.dumps({**GOOD, **change}))
    with pytest.raises(UserError, match=rf"^{path}: .*{message}") as caught:
        read_json(path, Content)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", ": expected JSON, received an empty text"),
        (b'{"name": "x', r": expected JSON, received damaged or cut text \(Unterminated string"),
        (b"\xff\xfe\x00", ": expected text in UTF-8, received other bytes"),
        (b"[]", r": expected an object, received \[\]"),
        (b"null", ": expected an object, received None"),
        (b"3", ": expected an object, received 3"),
        (b"{}", ": expected the field name, received none"),
        (b'{"a":' * 100_000, ": expected JSON, received values nested too deeply"),
        (b"[" * 800 + b"]" * 800, ": expected an object, received"),
        (b'{"rest": 1e999, "name": 1}', ": expected the field kind"),
        (b"9" * 5000, ": "),
    ],
)
def test_damaged_files_are_named(tmp_path, content, message):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"^{path}{message}"):
        read_json(path, Content)


def test_values_of_any_type_are_numbers_too(tmp_path):
    with pytest.raises(UserError, match=r"x: expected rest.a\[1\] to be a finite number"):
        parse_json('{"rest": {"a": [1, 1e999]}}', Dict[str, Any], "x")
    deep = b'{"a":' * 800 + b"1" + b"}" * 800
    with pytest.raises(UserError, match="x: expected JSON, received values nested too deeply"):
        parse_json(deep, Any, "x")


def test_files_that_cannot_be_read_are_named(tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"absent\.json cannot be read: No such file"):
        read_json(tmp_path / "absent.json", Content)
    with pytest.raises(UserError, match="cannot be read: Is a directory"):
        read_json(tmp_path, Content)
    (tmp_path / "a.json").write_text("{}  ")
    monkeypatch.setattr("tfrecords.utils.json_files.MAX_BYTES", 3)
    with pytest.raises(UserError, match=r"a\.json: expected at most 3 bytes, received more"):
        read_json(tmp_path / "a.json", Content)
