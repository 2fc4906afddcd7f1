"""The documents: links lead somewhere, and the files that they name are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]
DOCUMENTS = [*PROJECT.glob("*.md"), *(PROJECT / "docs").rglob("*.md"), *PROJECT.glob("*/README.md")]


def anchors_of(document: Path) -> set[str]:
    """The anchors of its headings, as GitHub and mkdocs make them."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings
    }


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(PROJECT)))
def test_links_lead_to_files_and_headings(document):
    text = re.sub(r"```.*?```", "", document.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?:|mailto:", target):
            continue
        name, _, anchor = target.partition("#")
        path = (document.parent / name) if name else document
        assert path.exists(), target
        assert not anchor or anchor in anchors_of(path), target


@pytest.mark.parametrize("name", ["docs/architecture.md", "CONTRIBUTING.md"])
def test_files_that_are_named_exist(name):
    text = (PROJECT / name).read_text(encoding="utf-8")
    paths = re.findall(
        r"(?:aacf_tf|keras_layers|tfrecords|benchmarks|docs)/[\w/]+(?:\.\w+|/)", text
    )
    assert paths
    assert not [path for path in paths if not (PROJECT / path).exists()]


def test_the_model_in_the_readme_is_that_of_the_example():
    readme = (PROJECT / "README.md").read_text(encoding="utf-8")
    example = (PROJECT / "examples" / "plain_keras.py").read_text(encoding="utf-8")
    shown = re.search(r"^class .*?(?=^```)", readme, flags=re.MULTILINE | re.DOTALL)
    assert shown and shown[0].rstrip() in example


def test_the_readme_is_short():
    assert len((PROJECT / "README.md").read_text(encoding="utf-8").splitlines()) < 200
