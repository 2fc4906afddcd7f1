"""The report in a browser: Debian's packages chromium and chromium-driver."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from browser import Browser, find_browser

from aacf_tf.report import page

pytestmark = pytest.mark.skipif(
    not find_browser(), reason="needs a browser and its driver: apt install chromium-driver"
)
# axe-core of npm: named by AXE_CORE, or installed with `npm install axe-core`, here or with -g.
AXE = [
    Path(os.environ.get("AXE_CORE", "axe.min.js")),
    *(
        Path(folder, "node_modules/axe-core/axe.min.js")
        for folder in (".", "/usr/lib", "/usr/local/lib")
    ),
]
PIXELS = "return [...document.querySelectorAll('canvas')].map((c) => c.toDataURL()).join()"
SETTLED = """
const read = () => [...document.querySelectorAll('canvas')].map((c) => c.toDataURL()).join();
for (let n = 0, last = ''; n < 50; n++) {
  await new Promise((done) => setTimeout(done, 60));
  const now = read();
  if (now === last) return true;
  last = now;
}
return false;
"""


@pytest.fixture(scope="module")
def pages(make_run, tmp_path_factory):
    """Addresses of the report of one run, and of two side by side."""
    folder = tmp_path_factory.mktemp("pages")
    runs = [(name, *make_run(folder / name)) for name in ("one", "two")]
    page.write_comparison(runs, folder / "comparison.html")
    single = page.write_report(*runs[0][1:])
    return single.as_uri(), (folder / "comparison.html").as_uri()


@pytest.fixture(scope="module")
def browser():
    with Browser(*find_browser()) as started:
        yield started


@pytest.fixture
def report(browser, pages):
    """The browser with the report of one run open in it, all clips drawn."""
    browser.messages(), browser.requests()
    browser.open(pages[0])
    assert browser.run(SETTLED)
    yield browser
    assert browser.messages() == []
    # Frames in the page itself are "data:".
    assert [u for u in browser.requests() if not u.startswith("data:")] == [pages[0]]


def set_to(browser, name, value):
    """Sets a control, as a user does."""
    browser.run(
        "const found = document.getElementById(arguments[0]);"
        "if (found.type === 'checkbox') found.checked = arguments[1];"
        "else found.value = arguments[1];"
        "for (const kind of ['input', 'change']) found.dispatchEvent(new Event(kind));",
        name,
        value,
    )


def shown(browser):
    return browser.run("return document.querySelectorAll('.card:not([hidden])').length")


def test_a_clip_plays_and_pauses(report):
    frame = "return document.querySelector('.frame').value"
    assert report.run(frame) == "0"
    report.run("document.querySelector('.play').focus()")
    report.press("Enter")
    label = "return document.querySelector('.play').getAttribute('aria-label')"
    assert report.run(label).startswith("Pause ")
    script = (
        "for (let n = 0; n < 100 && document.querySelector('.frame').value === '0'; n++)"
        " await new Promise((done) => setTimeout(done, 50));" + frame
    )
    assert report.run(script) != "0"
    report.press("Enter")
    assert report.run(label).startswith("Play ")
    stopped = report.run(frame)
    assert report.run("await new Promise((done) => setTimeout(done, 400));" + frame) == stopped
    before = report.run(PIXELS)
    report.run("document.querySelector('.frame').focus()")
    report.press("ArrowRight")
    assert report.run(SETTLED) and report.run(PIXELS) != before


def test_overlays_follow_their_controls(report):
    seen = {report.run(PIXELS)}
    for name, value in (
        ("strength-0", 10),
        ("strength-1", 100),
        ("cells", True),
        ("outline", False),
        ("strength-0", 0),
        ("strength-1", 0),
    ):
        set_to(report, name, value)
        assert report.run(SETTLED)
        seen.add(report.run(PIXELS))
    assert len(seen) == 7  # each made a difference


def test_clips_are_filtered(report):
    assert shown(report) == 8
    set_to(report, "by-class", "down")
    assert shown(report) == 4
    assert report.run("return document.getElementById('count').textContent") == "4 of 8 shown"
    set_to(report, "by-class", "")
    counts = []
    for outcome in ("right", "wrong"):
        set_to(report, "by-outcome", outcome)
        counts.append(shown(report))
    assert sum(counts) == 8
    set_to(report, "by-outcome", "")
    shares = report.run(
        "return [...document.querySelectorAll('.card')].map((c) => 100 * c.dataset.scene)"
    )
    set_to(report, "scene-low", 50)
    assert shown(report) == sum(share >= 50 for share in shares)
    set_to(report, "scene-low", 0)
    set_to(report, "scene-high", 50)
    assert shown(report) == sum(share <= 50 for share in shares)


def test_a_clip_is_enlarged_by_keys_alone(report):
    width = "return document.querySelector('.card canvas').clientWidth"
    small = report.run(width)
    report.run("document.querySelector('.enlarge').focus()")
    report.press("Enter")
    assert report.run("return document.getElementById('large').open")
    assert report.run("return document.querySelector('#large canvas').clientWidth") > 1.5 * small
    assert report.run("return document.getElementById('tools').closest('dialog') !== null")
    first = report.run("return document.querySelector('#large h3').textContent")
    report.run("document.getElementById('next').click()")
    assert report.run("return document.querySelector('#large h3').textContent") != first
    report.press("Escape")
    # The dialog's event "close", which takes the card back, comes some time after it is closed.
    back = (
        "const cards = () => document.querySelectorAll('#gallery .card').length;"
        "for (let n = 0; n < 100 && cards() < 8; n++)"
        " await new Promise((done) => setTimeout(done, 50));"
        "return cards()"
    )
    assert report.run(back) == 8 and shown(report) == 8
    assert not report.run("return document.getElementById('large').open")
    assert report.run("return document.activeElement.className") == "enlarge"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("number", [0, 1])
def test_axe_finds_nothing(browser, pages, scheme, number):
    axe = next((path for path in AXE if path.is_file()), None)
    if axe is None:
        pytest.skip("needs axe-core: npm install axe-core, or AXE_CORE=.../axe.min.js")
    browser.open(pages[number], scheme=scheme)
    assert browser.run(SETTLED)
    browser.run("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    browser.run(axe.read_text(encoding="utf-8"))
    found = browser.run("return (await axe.run()).violations")
    assert [(v["id"], [n["html"][:200] for n in v["nodes"][:3]]) for v in found] == []


@pytest.mark.parametrize("number", [0, 1])
def test_a_phone_scrolls_tables_and_not_the_page(browser, pages, number):
    browser.open(pages[number], width=390, height=844)
    assert browser.run(SETTLED)
    assert browser.run("return document.documentElement.scrollWidth") <= 390
    wide = browser.run(
        "return [...document.querySelectorAll('.scroll')]"
        ".filter((s) => s.checkVisibility() && s.scrollWidth > s.clientWidth + 1)"
        ".map((s) => [s.className, s.tabIndex])"
    )
    assert wide and all(found == ["scroll overflows", 0] for found in wide)


def test_two_runs_are_compared(browser, pages):
    browser.messages()
    browser.open(pages[1])
    assert browser.run(SETTLED)
    card = "document.querySelector('.card')"
    assert browser.run(f"return {card}.querySelectorAll('canvas').length") == 4
    text = browser.run(f"return {card}.textContent")
    assert "one" in text and "two" in text
    set_to(browser, "by-outcome", "differ")
    assert shown(browser) == 0  # they are the same
    set_to(browser, "by-outcome", "")
    browser.run("document.querySelector('.play').click()")
    frames = "return document.querySelector('.frame').value"
    script = (
        "for (let n = 0; n < 100 && document.querySelector('.frame').value === '0'; n++)"
        " await new Promise((done) => setTimeout(done, 50));" + frames
    )
    assert browser.run(script) != "0"
    assert browser.messages() == []
