"""The notebook: it runs from top to bottom, and shows what its text says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")

NOTEBOOK = Path(__file__).resolve().parents[2] / "examples" / "where_does_it_look.ipynb"


@pytest.mark.slow
def test_where_does_it_look():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    resources = {"metadata": {"path": str(NOTEBOOK.parents[1])}}
    nbclient.NotebookClient(notebook, timeout=300, resources=resources).execute()
    shown = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert sum("image/png" in output.get("data", ()) for output in shown) == 2
    text = "".join(output.get("text", "") for output in shown)
    average, action, context = (
        float(x) for x in re.findall(r"(\d\.\d\d)$", text, re.MULTILINE)[:3]
    )
    assert action > 0.5 > 0.25 > max(average, context)
