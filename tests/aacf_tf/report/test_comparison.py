"""--mode=report with several directories."""

from __future__ import annotations

import json

import pytest

from aacf_tf import pipeline, recipes
from tfrecords.records.dataset import digest
from tfrecords.utils.errors import UsageError, UserError


@pytest.fixture
def folders(make_run, squares_data, tmp_path, monkeypatch):
    """Directories of two runs that look trained and have been evaluated."""
    found = [tmp_path / "a" / "seed-0", tmp_path / "b" / "seed-0"]
    for folder in found:
        current, model = make_run(folder)
        config = {
            "recipe": recipes.to_dict(current.recipe),
            "data": {"directory": str(squares_data), "digest": digest(squares_data)},
        }
        (folder / "config.json").write_text(json.dumps(config))
    monkeypatch.setattr(pipeline.restoring, "restore", lambda run, stage: model)
    return found


def test_the_page_lies_in_the_first_directory(folders, capsys):
    pipeline.compare(folders)
    path = folders[0] / "report" / "comparison.html"
    assert capsys.readouterr().out == f"report   {path}\n"
    assert "<title>a/seed-0 | b/seed-0</title>" in path.read_text(encoding="utf-8")
    assert not (folders[1] / "report").exists()


@pytest.mark.slow
def test_data_may_have_moved(folders, squares_data, tmp_path):
    path = folders[1] / "config.json"
    path.write_text(path.read_text().replace(str(squares_data), str(tmp_path / "gone")))
    with pytest.raises(UsageError, match="gone"):
        pipeline.compare(folders)
    pipeline.compare(folders, squares_data)
    path.write_text(path.read_text().replace(digest(squares_data), "0123"))
    with pytest.raises(UsageError, match=r"--data: .*b/seed-0 was trained on \(digest 0123\)"):
        pipeline.compare(folders, squares_data)


@pytest.mark.parametrize(
    "config, kind, complaint",
    [
        (None, UsageError, "--workdir: expected a trained run, received .*seed-0"),
        ("{", UserError, "config.json"),
        ('{"recipe": {}}', UserError, "config.json: expected the data of a run"),
        ('{"data": {"directory": 3}}', UserError, "config.json: expected the data of a run"),
    ],
)
def test_a_directory_without_a_run_is_refused(folders, config, kind, complaint):
    path = folders[1] / "config.json"
    path.unlink() if config is None else path.write_text(config)
    with pytest.raises(kind, match=complaint):
        pipeline.compare(folders)


def test_the_same_directory_twice_is_refused(folders):
    with pytest.raises(UsageError, match="expected different directories"):
        pipeline.compare([folders[0], folders[0]])
