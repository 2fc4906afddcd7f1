"""The report: one page, complete in itself, that shows what the run has measured."""

from __future__ import annotations

import base64
import dataclasses
import json
import re
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from aacf_tf import build_model
from aacf_tf.evaluation.evaluate import evaluate
from aacf_tf.recipes import load_recipe
from aacf_tf.report import page
from aacf_tf.report.figures import SHEET
from aacf_tf.runs.run import Run
from tfrecords.media import pictures
from tfrecords.records.dataset import DatasetInfo
from tfrecords.utils.errors import UsageError

LABELS = ["down", "right"]


@pytest.fixture(scope="module")
def evaluated():
    """Metrics of the first test, for those after it."""
    return {}


@pytest.fixture
def run(squares_data, tiny_recipe, tmp_path, evaluated):
    """(run directory that looks trained, recipe, model)."""
    if not evaluated:
        model = build_model(tiny_recipe, len(LABELS))
        current = Run.open(tiny_recipe, squares_data, tmp_path)
        evaluate(current, model, "aacf", tmp_path)
        files = {
            name: (tmp_path / name).read_bytes() for name in ("metrics.json", "predictions.csv")
        }
        evaluated.update(model=model, files=files)
    model = evaluated["model"]
    for name, content in evaluated["files"].items():
        (tmp_path / name).write_bytes(content)
    history = [{"epoch": n, "loss": 2.0 / n, "presence": 0.5, "accuracy": 0.1 * n} for n in (1, 2)]
    (tmp_path / "logs" / "main").mkdir(parents=True)
    (tmp_path / "logs" / "main" / "history.json").write_text(json.dumps(history))
    return tmp_path, tiny_recipe, model


class Page(HTMLParser):
    """Tags that are open, and what the page would fetch."""

    def __init__(self, text):
        super().__init__()
        self.open, self.fetched, self.images = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        if tag not in ("meta", "img", "br", "path", "use", "rect"):
            self.open.append(tag)
        for name, value in attributes:
            if name in ("src", "href", "xlink:href") and not value.startswith("#"):
                self.fetched.append(value)
            if tag == "img" and name == "src":
                self.images.append(value)

    def handle_startendtag(self, tag, attributes):
        pass

    def handle_endtag(self, tag):
        if tag not in ("path", "use", "rect"):
            assert self.open.pop() == tag


def write(run, squares_data):
    workdir, recipe, model = run
    path = page.write_report(Run.open(recipe, squares_data, workdir), model)
    return path, path.read_text(encoding="utf-8")


def test_the_page_is_whole_and_fetches_nothing(run, squares_data):
    path, text = write(run, squares_data)
    assert path == run[0] / "report" / "index.html"
    page = Page(text)
    assert not page.open
    assert page.fetched and all(link.startswith("data:image/") for link in page.fetched)
    assert not re.search(r"url\((?!#)|@import|<script|<link", text)


def test_the_page_shows_what_was_measured(run, squares_data):
    _, text = write(run, squares_data)
    metrics = json.loads((run[0] / "metrics.json").read_text())
    for split, entry in metrics["splits"].items():
        assert split in text
        for value in (
            entry["action"]["top1"],
            entry["combined"]["mean_ap"],
            entry["localization"]["action_mass"],
            entry["localization"]["context_auc"],
            entry["localization"]["off_centre_third"]["action_mass"],
            entry["context"]["per_class_ap"]["down"],
        ):
            assert f"{value:.3f}" in text
        assert text.count("action map, off-centre third") == len(metrics["splits"])
    assert "stage main" in text and "<svg" in text and "average pooling" not in text


def test_average_pooling_stands_beside_where_it_was_trained(run, squares_data):
    beside = run[0] / "baselines" / "average"
    beside.mkdir(parents=True)
    scores = {"top1": 0.321, "mean_ap": 0.432, "per_class_ap": {"down": 0.543, "right": None}}
    entry = {"clips": 8, "combined": scores}
    content = {"recipe": "demo", "head": "average", "labels": LABELS, "splits": {"test": entry}}
    (beside / "metrics.json").write_text(json.dumps(content))
    _, text = write(run, squares_data)
    assert all(digits in text for digits in ("average pooling", "0.321", "0.432", "0.543"))


def test_every_clip_is_drawn_in_three_rows(run, squares_data):
    images = Page(write(run, squares_data)[1]).images
    assert len(images) == 8  # all that the test split has
    data = base64.b64decode(images[0].split(",")[1])
    shape = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).shape
    assert shape == (3 * 128 + 2 * 3, 6 * 128 + 5 * 3, 3)


def test_the_sheet_names_its_classes(run, squares_data):
    write(run, squares_data)
    sheet = cv2.imread(str(run[0] / "report" / SHEET))[..., ::-1]
    strip = 4 * 128 + 3 * 3  # four frames of a clip
    assert sheet.shape == (34 + 3 * 128 + 2 * 3, 2 * strip + 14, 3)
    bars = sheet[:34, :strip], sheet[:34, -strip:]
    for bar, label in zip(bars, LABELS):
        table = (run[0] / "predictions.csv").read_text().splitlines()
        rows = [line.split(",") for line in table if line.startswith("test,")]
        predicted = {row[3] for row in rows if row[2] == label}
        title = label if label in predicted else f"{label} (taken for {predicted.pop()})"
        wanted = pictures.text_bar(strip, 34, [title])
        assert np.abs(bar.astype(int) - wanted).max() <= 5
    assert not list((run[0] / "report").glob("*.tmp"))


def test_the_page_says_whose_clips_it_shows(run, squares_data):
    workdir = run[0]
    table = (workdir / "predictions.csv").read_text().splitlines(keepends=True)
    (workdir / "predictions.csv").write_text(
        "".join(line for line in table if not line.startswith("test,"))
    )
    _, text = write(run, squares_data)
    assert "Clips of the split <b>test_more</b>" in text and "test_more-0" in text


@pytest.mark.parametrize(
    "head, named, shown",
    [
        ("linear_factors", "linear factors action", "class activation map (orange) over"),
        ("attention", "attention combined", "attention map (orange) over"),
    ],
)
def test_a_head_shows_the_one_map_it_has(squares_data, tiny_recipe, tmp_path, head, named, shown):
    recipe = dataclasses.replace(tiny_recipe, head=head)
    model = build_model(recipe, len(LABELS))
    evaluate(Run.open(recipe, squares_data, tmp_path), model, head, tmp_path)
    _, text = write((tmp_path, recipe, model), squares_data)
    assert named in text and shown in text and "context map" not in text


def test_names_cannot_break_the_page(run, squares_data):
    workdir = run[0]
    for name in ("metrics.json", "predictions.csv"):
        text = (workdir / name).read_text().replace("test_more", "<b>x")
        (workdir / name).write_text(text.replace('"aacf"', '"<i>h"'))
    _, text = write(run, squares_data)
    assert "&lt;i&gt;h action" in text and "<i>h" not in text
    assert "&lt;b&gt;x" in text and "<b>x" not in text


def test_a_run_that_was_not_evaluated_is_refused(tmp_path, tiny_recipe, squares_data):
    with pytest.raises(UsageError, match="evaluate"):
        page.write_report(Run.open(tiny_recipe, squares_data, tmp_path), model=None)


def test_the_facts_count_conjugates_where_each_clip_has_its_own():
    recipe = load_recipe("demo")
    splits = {"train": {"pairs_given": 2, "pairs_frozen_frame": 3}, "test": {"pairs_given": 1}}
    info = DatasetInfo("csv", 25.0, [24, 24], ["a", "b"], splits=splits)
    assert "conjugates: 3 given, 3 frozen_frame" in page._facts(recipe, "aacf", info)
    assert "conjugates" not in " ".join(
        page._facts(recipe, "aacf", dataclasses.replace(info, splits={}))
    )
