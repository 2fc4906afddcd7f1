"""Properties of the readers: whatever a file holds, it is read, or refused in one sentence."""

from __future__ import annotations

import json

import numpy as np
import pytest
from fuzzing import data
from fuzzing.mutate import mutate, places
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tfrecords import ClipPair
from tfrecords.records import codec
from tfrecords.sources.table import TableReader
from tfrecords.utils.errors import UsageError, UserError

# The same examples in every run; time is not judged.
settings.register_profile(
    "fixed",
    derandomize=True,
    deadline=None,
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("fixed")


# ---- tables --------------------------------------------------------------------------------------

CELL = st.one_of(
    st.sampled_from(["", " ", "a", '"', "\0", "\r", "\u2028", '"a\nb"', "strat", "video", "1_0"]),
    st.text(max_size=8),
)
ROWS = st.lists(st.lists(CELL, min_size=1, max_size=4).map(",".join), max_size=6)


@given(ROWS.map(lambda rows: "\n".join(["video,label,start", *rows]).encode()) | st.binary())
def test_any_bytes_are_rows_of_a_table_or_one_sentence(tmp_path, data):
    path = tmp_path / "t.csv"
    path.write_bytes(data)
    try:
        for line, cells in TableReader(str(path), ("video", "label"), ("start",)):
            assert 2 <= line <= 1 + data.count(b"\n") + data.count(b"\r")
            assert cells.keys() <= {"video", "label", "start"} and any(cells.values())
    except UsageError as error:
        assert str(path) in str(error) and str(error).endswith(".")


@given(ROWS, st.integers(0, 5))
def test_bytes_that_are_no_text_are_refused_at_their_line(tmp_path, rows, place):
    rows = [row.replace('"', "").replace("\r", "").replace("\n", "") + ",,," for row in rows][
        :place
    ]
    path = tmp_path / "t.csv"
    path.write_bytes("\n".join(["video,label,start", *rows, ""]).encode() + b"a,\xff,1\n")
    with pytest.raises(UsageError, match=rf"line {len(rows) + 2}: .* UTF-8|line \d+: "):
        list(TableReader(str(path), ("video", "label"), ("start",)))


# ---- records -------------------------------------------------------------------------------------

SECONDS = st.floats(0, 1e6, allow_subnormal=False)  # a library turns them off
NAMES = st.text(st.characters(codec="utf-8"), max_size=8)
LABELS = {"run": 0, "walk": 1}


@st.composite
def pairs(draw) -> ClipPair:
    """Any valid pair."""
    sides = draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    length, other = (draw(st.integers(1, 4)) for _ in range(2))

    def images(count, channels, dtype=np.uint8):
        shape = (count, *sides, *channels)
        return arrays.arrays(dtype, shape, elements=st.booleans() if dtype is bool else None)

    paired, flowing = draw(st.booleans()), draw(st.booleans())
    place = st.none() | SECONDS
    edges = draw(st.lists(st.tuples(*[st.integers(0, 9)] * 2), max_size=3))
    boxes = np.array([[x / 10, y / 10, (x + 1) / 10, 1] for x, y in edges], np.float32)
    return ClipPair(
        draw(NAMES),
        draw(images(length, (3,))),
        draw(images(other, (3,))) if paired else None,
        draw(st.lists(st.sampled_from([*LABELS]), max_size=2, unique=True)),
        draw(st.floats(0.125, 1000, width=32)),
        mask=draw(st.none() | images(length, (), bool)),
        media_id=draw(NAMES),
        start=draw(SECONDS),
        conjugate_media_id=draw(st.none() | NAMES) if paired else None,
        conjugate_start=draw(place) if paired else None,
        boxes=boxes if length == 1 and len(boxes) else None,
        flow=draw(images(length, (2,))) if flowing else None,
        conjugate_flow=draw(images(other, (2,))) if flowing and paired else None,
        decoy=draw(st.booleans()),
    )


@given(pairs())
@settings(max_examples=60)
def test_any_pair_comes_back(pair):
    back = codec.decode(codec.encode(pair, LABELS, "PNG"))
    for name in ("clip", "conjugate", "mask", "boxes", "flow", "conjugate_flow"):
        given_, found = getattr(pair, name), getattr(back, name)
        assert (given_ is None) == (found is None), name
        if found is not None:
            np.testing.assert_array_equal(found, given_, name)
            assert found.dtype == given_.dtype
    for name in ("id", "labels", "fps", "media_id", "decoy"):
        assert getattr(back, name) == getattr(pair, name)
    assert back.start == pytest.approx(pair.start, abs=1e-6)
    assert back.end == pytest.approx(pair.end, abs=1e-6)


@given(st.data())
def test_any_bytes_are_a_record_or_one_sentence(data):
    pair = ClipPair(
        "a", np.zeros((2, 3, 4, 3), np.uint8), None, ("run",), mask=np.ones((2, 3, 4), bool)
    )
    whole = codec.encode(pair, LABELS, "PNG")
    rng = data.draw(st.randoms(use_true_random=False))
    try:
        assert isinstance(codec.decode(mutate(rng, "a.record", whole, [whole])), ClipPair)
    except UserError as error:
        assert "\n" not in str(error)


# ---- json files ----------------------------------------------------------------------------------

NUMBERS = st.integers() | st.floats() | st.sampled_from([0, -1, 1 << 31, 1 << 63, 10**400])
PLAIN = st.none() | st.booleans() | NUMBERS | st.text(max_size=5) | st.just("\ud800")
VALUES = st.recursive(
    PLAIN,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)
FILES = (
    "dataset",
    "manifest",
    "build",
    "features",
    "model",
    "config",
    "metrics",
    "history",
    "segments",
)


@pytest.fixture(scope="session")
def readers(tmp_path_factory):
    """Folder of the valid json files; name -> reader."""
    folder = tmp_path_factory.mktemp("json")
    data.make_json(folder)
    return folder, data.json_readers(folder)


@pytest.mark.parametrize("name", [f"{name}.json" for name in FILES])
@given(st.data())
@settings(max_examples=15)
def test_any_json_loads_or_is_one_sentence(readers, tmp_path, name, data):
    folder, read = readers
    root = [json.loads((folder / name).read_text())]
    read[name](folder / name)
    node, key = data.draw(st.sampled_from([*places(root)]))
    node[key] = data.draw(VALUES)
    (tmp_path / name).write_text(json.dumps(root[0]))
    try:
        read[name](tmp_path / name)
    except UserError as error:
        assert name in str(error) or "features" in name
        assert len(str(error)) < 1000
