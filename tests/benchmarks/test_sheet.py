"""The form of the benchmarks' figures: what is compared, how it is printed and kept."""

from __future__ import annotations

import functools
import json

import pytest

from benchmarks import machine, sheet, timing


@pytest.fixture
def measured(monkeypatch):
    """Two rows and the peak; in the second round the machine is half as fast."""
    walls = {sheet.PEAK: [1.0, 2.0, 1.0], "ours": [2.0, 4.0, 2.2], "other": [3.0, 6.0, 3.0]}
    times = {name: timing.Times(wall, [w / 2 for w in wall]) for name, wall in walls.items()}
    monkeypatch.setattr(timing, "measure", lambda calls, rounds: times)
    candidates = {
        sheet.PEAK: sheet.Candidate(lambda: None, gflop=100.0),
        "ours": sheet.Candidate(lambda: None, gflop=150.0),
        "other": sheet.Candidate(lambda: None),
    }
    return sheet.measure(
        "Title",
        candidates,
        rounds=3,
        threads=2,
        settings={"batch": 4},
        wanted={("ours", "other"): 1.4, ("ours", "absent"): 2.0},
        notes=["A note."],
    )


def test_ratios_and_shares_are_those_of_the_same_round(measured):
    assert [*measured.rows] == [sheet.PEAK, "ours", "other"]
    assert measured.rows["ours"].share == pytest.approx(0.75)
    assert measured.rows["ours"].milliseconds == [2000, 4000, 2200]
    assert measured.rows["other"].cores == 0.5
    (ratio,) = measured.ratios
    assert (ratio.name, ratio.other, ratio.value) == ("ours", "other", 1.5)


def test_the_table(measured):
    lines = sheet.markdown(measured).splitlines()
    assert lines[0] == "**Title** (batch 4, threads 2, rounds 3, warm-up 1 call)"
    assert lines[2].startswith(
        "|  | ms: min / median / max | cores busy | GFLOP | GFLOP/s | of the"
    )
    assert "memory" not in lines[2]  # no row has one
    assert lines[5] == "| ours | 2000 / 2200 / 4000 | 0.50 | 150 | 68.2 | 75.0 % |"
    assert lines[6] == "| other | 3000 / 3000 / 6000 | 0.50 |  |  |  |"
    assert "- ours is 1.50 times as fast as other (wanted: 1.4)" in lines
    assert lines[-1] == "A note."


def test_figures_are_written_beside_the_table(measured, tmp_path):
    sheet.write(str(tmp_path / "name"), [measured], extra={"more": 1})
    content = json.loads((tmp_path / "name.json").read_text(encoding="utf-8"))
    assert content["machine"] == json.loads(json.dumps(machine.describe()))
    assert content["sheets"][0]["rows"]["ours"]["milliseconds"] == [2000, 4000, 2200]
    assert content["more"] == 1
    text = (tmp_path / "name.md").read_text(encoding="utf-8")
    assert sheet.markdown(measured) in text
    assert text.startswith(f"*{machine.describe()['processor']}")


def test_what_is_written_can_be_read(measured, tmp_path):
    output = str(tmp_path / "name")
    assert sheet.read(output) == {}
    sheet.write(output, [measured])
    assert sheet.read(output) == {"Title": measured}


def test_the_machine_is_named():
    facts = machine.describe()
    assert facts["processor"] and facts["cores"] >= 1
    assert facts["versions"]["tensorflow"].startswith("2.")
    assert set(facts["instructions"]) <= set(machine.INSTRUCTION_SETS)


def allocate(mebibytes):
    """Returns a call whose result alone takes so much memory."""
    import numpy as np

    return lambda: np.ones([mebibytes, 2**20], np.uint8)


def test_memory_is_that_of_the_call():
    found = machine.peak_bytes(functools.partial(allocate, 300), threads=1)
    if found is None:
        pytest.skip("the system does not tell what memory a process takes")
    assert 290 * 2**20 < found < 340 * 2**20
