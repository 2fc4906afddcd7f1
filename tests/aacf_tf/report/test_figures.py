"""The rule by which a report chooses its clips."""

from __future__ import annotations

from aacf_tf.report.figures import Chosen, choose, choose_split


def test_clips_come_from_where_the_scene_says_nothing():
    assert choose_split(["test_anti", "test", "test_uniform"]) == "test_uniform"
    assert choose_split(["test_more", "test"]) == "test"
    assert choose_split(["test_b", "test_a"]) == "test_b"


def rows(*entries):
    return [Chosen(str(n), label, predicted) for n, (label, predicted) in enumerate(entries)]


def test_right_and_wrong_clips_take_turns_class_by_class():
    table = rows(("b", "b"), ("a", "b"), ("a", "a"), ("a", "a"), ("a", "b"), ("b", "b"))
    assert [row.id for row in choose(table, ["a", "b"], 4)] == ["2", "1", "0", "5"]


def test_classes_are_spread_evenly_where_there_are_many():
    labels = [f"c{n:02d}" for n in range(21)]
    table = rows(*((label, label) for label in labels for _ in range(3)))
    chosen = choose(table, labels)
    assert len(chosen) == 18  # three of each
    classes = list(dict.fromkeys(row.labels for row in chosen))
    assert classes == ["c00", "c03", "c07", "c10", "c14", "c17"]


def test_a_class_without_clips_takes_no_place():
    labels = [f"c{n}" for n in range(10)]
    table = rows(("c3", "c3"), ("c9", "c1"), ("c9|c1", "c9"))
    assert [row.id for row in choose(table, labels)] == ["0", "2", "1"]
    assert choose([], labels) == []


def test_of_several_runs_every_outcome_takes_its_turn():
    predicted = [("a", "a"), ("a", "a"), ("b", "a"), ("b", "b"), ("a", "b"), ("b", "a")]
    table = [Chosen(str(n), "a", one, (two,)) for n, (one, two) in enumerate(predicted)]
    # Both right, the first alone, the second alone, none; then the next of each.
    assert [row.id for row in choose(table, ["a", "b"], 6)] == ["0", "4", "2", "3", "1", "5"]
