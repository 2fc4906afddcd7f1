"""The tables of scores, by hand."""

from __future__ import annotations

import json

from aacf_tf.evaluation import tables


def test_rows_are_the_baseline_and_then_the_head_by_each_of_its_scores():
    metrics = {"head": "aacf", "splits": {"test": {"combined": 1, "action": 2}, "test_b": {}}}
    baseline = {"splits": {"test": {"combined": 3}, "test_b": {"combined": 4}}}
    assert tables.score_rows(metrics, baseline) == [
        ("average pooling", {"test": 3, "test_b": 4}),
        ("AACF action", {"test": 2}),
        ("AACF combined", {"test": 1}),
    ]
    assert [row.name for row in tables.score_rows({**metrics, "head": "nonlocal"}, None)] == [
        "non-local action",
        "non-local combined",
    ]


def test_table_by_hand(tmp_path):
    def scores(top1, ap):
        return {"top1": top1, "mean_ap": ap}

    ours = {"action": scores(0.5, 0.25), "combined": scores(1.0, None), "clips": 8}
    place = {"action_pointing": 1.0, "action_mass": 0.5, "action_auc": None, "mask_area": 0.1}
    ours["localization"] = {**place, "context_mass": 0.01, "context_auc": 0.2}
    theirs = {"combined": scores(0.125, 0.0625), "clips": 8}
    for folder, head, entry in (
        (tmp_path, "aacf", ours),
        (tmp_path / "baselines/average", "average", theirs),
    ):
        folder.mkdir(parents=True, exist_ok=True)
        content = {"recipe": "demo", "head": head, "labels": ["a"], "splits": {"test": entry}}
        (folder / "metrics.json").write_text(json.dumps(content))
    lines = [line.split() for line in tables.table(tmp_path).splitlines() if line]
    assert ["test", "8", "0.125", "/", "0.062", "0.500", "/", "0.250", "1.000", "/"] in lines
    assert ["test", "aacf", "action", "1.000", "0.500", "0.100"] in lines
