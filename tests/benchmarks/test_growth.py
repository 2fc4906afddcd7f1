"""Exponents of growth by hand, every curve on tiny sizes."""

from __future__ import annotations

import pytest

from benchmarks import growth, sheet
from benchmarks.growth import CURVES, Curve

SLOW = ("frames", "pixels", "classes", "batch")  # they train


def measured(times, memory):
    rows = {
        str(10**n): sheet.Row([time, 9e9], 1.0, bytes=size)
        for n, (time, size) in enumerate(zip(times, memory))
    }
    return sheet.Sheet("name", {}, rows)


def test_exponents_of_all_points_and_of_the_last_two():
    mega = growth.MEGA
    found = growth.exponents(measured([1.0, 1.0, 100.0], [5, mega, 10 * mega]))
    assert found["time"] == pytest.approx((1.0, 2.0))
    assert found["memory"] == pytest.approx((0.5, 1.0))  # less than a MiB is noise
    assert [*growth.exponents(measured([1.0, 10.0], [None, None]))] == ["time"]


def test_what_grows_too_fast_is_marked(monkeypatch, tmp_path):
    found = measured([1.0, 10.0, 200.0], [growth.MEGA] * 3)
    monkeypatch.setattr(sheet, "measure", lambda *_, **__: found)
    growth.run("read", str(tmp_path), rounds=1, threads=1, quick=False)
    time, memory = found.notes
    assert time == "- time ~ x^1.15, between the last two x^1.30: above 1.1"
    assert memory == "- memory ~ x^0.00, between the last two x^0.00"


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in CURVES],
)
def test_every_curve_on_a_tiny_size(name, tmp_path, monkeypatch):
    monkeypatch.setattr(growth, "RECORDS", 20)
    monkeypatch.setattr(growth, "BATCH", 5)
    tiny = {"pixels": (144, 256), "write": (2, 4), "shards": (1, 3), "plan": (60, 120)}
    points = tiny.get(name, (10, 20) if "records" in CURVES[name].axis else (2, 4))
    monkeypatch.setitem(CURVES, name, Curve(CURVES[name].axis, CURVES[name].make, points))
    found = growth.run(name, str(tmp_path), rounds=1, threads=1, quick=True)
    assert [*found.rows] == [*map(str, points)]
    assert found.notes[0].startswith("- time ~ x^")
    growth.plot({name: found}, tmp_path / "growth.png")
    assert (tmp_path / "growth.png").read_bytes().startswith(b"\x89PNG")


def test_tables_of_rows_spread_over_videos(tmp_path):
    table = growth.write_table(str(tmp_path), videos=2, rows=5)
    lines = table.read_text(encoding="utf-8").splitlines()
    assert lines[1:4] == [
        "video-0.mp4,class 0,0.0,0.5",
        "video-1.mp4,class 1,0.0,0.5",
        "video-0.mp4,class 2,0.01,0.51",
    ]
    assert len(lines) == 6
    assert {path.name for path in tmp_path.glob("*/video-*.mp4")} == {"video-0.mp4", "video-1.mp4"}
