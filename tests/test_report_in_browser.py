"""Reports as a reader meets them: in a real browser, wide and narrow, light and dark, on paper, with no script run."""

import json

import pytest

from aedist.report import write_comparison, write_report
from browser import Browser, find_browser
from fullrecord import variational_record
from reportpage import make_run, strip, write_records

PAPER_PIXELS = 718  # A4 without its margins
READY = "document.documentElement.dataset.ready === 'yes'"
WHOLE_PICTURES = "[...document.images].every((image) => image.complete && image.naturalWidth > 0)"
OVERFLOWS = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
# text that is seen, and how it stands out from the page: WCAG's contrast, whose least is 4.5 for text
LEAST_CONTRAST = """(() => {
  const light = (text) => {
    const [r, g, b] = text.match(/[\\d.]+/g).slice(0, 3).map((part) => part / 255)
      .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (; element; element = element.parentElement) {
      const colour = getComputedStyle(element).backgroundColor;
      if (!/, 0\\)$/.test(colour)) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  let least = 21, count = 0;
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.checkVisibility() || element.closest("script, svg")) continue;
    const [a, b] = [light(getComputedStyle(element).color), light(behind(element))];
    least = Math.min(least, (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05));
    count += 1;
  }
  return [least, count];
})()"""

pytestmark = pytest.mark.skipif(
    find_browser() is None, reason="no Chromium on PATH; launch/browser.sh installs it where it can"
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    opened = Browser(find_browser(), tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs with a full evaluation, samples, uses of encodings, and an interruption."""
    folder = tmp_path_factory.mktemp("runs")
    made = [make_run(folder / name, attempts=((1, 0), (2, 150))) for name in ("first", "a-run-with-quite-a-long-name")]
    for run in made:
        records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        write_records(run, [record | {"attempt": 1 if record["step"] <= 150 else 2} for record in records])
        (run / "evaluation" / "comprehensive_evaluation.json").write_text(json.dumps(variational_record()))
        for step in (100, 200, 300):
            strip(run / "images" / "samples" / f"step-{step:09d}.png", brightness=step // 2)
        for path in ("evaluation/samples_prior.png", "evaluation/errors.png", "explore/traverse.png"):
            strip(run / path, brightness=30)
    return made


@pytest.fixture(scope="module")
def page(runs):
    return write_report(runs[0])


@pytest.fixture(scope="module")
def comparison(runs):
    return write_comparison(runs)


@pytest.mark.parametrize("what", ["page", "comparison"])
@pytest.mark.parametrize(("width", "dark"), [(1200, False), (360, True)], ids=["wide", "narrow and dark"])
def test_a_page_is_whole_and_asks_for_nothing(browser, request, what, width, dark):
    """No word on the console, no request but for the file, every picture and curve there, nothing runs off the side."""
    path = request.getfixturevalue(what)
    browser.look(path, width, dark=dark)
    browser.until(READY)
    assert browser.faults == []
    assert [address for address in browser.requests if not address.startswith("data:")] == [path.resolve().as_uri()]
    assert browser.run("document.images.length") >= 7
    assert browser.run(WHOLE_PICTURES)
    panels, drawn = browser.run("document.querySelectorAll('.panel').length"), "Bokeh.documents[0].roots().length"
    assert browser.run(drawn) == panels >= 8
    assert browser.run("[...document.querySelectorAll('.panel > div')].every((place) => place.offsetHeight > 150)")
    assert browser.run(OVERFLOWS) == 0
    least, count = browser.run(LEAST_CONTRAST)
    assert count > 100
    assert least >= 4.5


def test_the_sliders_lead_through_training(browser, page):
    browser.look(page)
    rows = "[...series.querySelectorAll('[data-row]')].filter((row) => row.checkVisibility())"
    seen = f"[...document.querySelectorAll('[data-series]')].map((series) => {rows}.map((row) => row.children[1].src))"
    told = "[...document.querySelectorAll('output')].map((output) => output.textContent.replace('\\u00a0', ' '))"
    last = browser.run(seen)
    assert [len(rows) for rows in last] == [1, 1], "one row of reconstructions, one of samples"
    assert browser.run(told) == ["epoch 3, 17.00 dB", "epoch 3"]
    browser.run("document.querySelector('input[type=range]').focus()")
    left = {"key": "ArrowLeft", "code": "ArrowLeft", "windowsVirtualKeyCode": 37}
    for kind in ("rawKeyDown", "keyUp", "rawKeyDown", "keyUp"):
        browser.ask("Input.dispatchKeyEvent", type=kind, **left)
    assert browser.run(told) == ["epoch 1, 15.00 dB", "epoch 3"]
    now = browser.run(seen)
    assert now[0] != last[0]
    assert now[1] == last[1]


def test_a_box_drawn_in_one_panel_moves_the_images_seen_of_all(browser, page):
    browser.look(page)
    browser.until(READY)
    browser.run("document.getElementById('loss-0').scrollIntoView({block: 'center'})")
    ranges = "Bokeh.documents[0].roots().map((plot) => [plot.x_range.start, plot.x_range.end])"
    before = browser.run(ranges)
    assert len({tuple(one) for one in before}) == 1
    x, y, width, height = browser.run(
        "(({x, y, width, height}) => [x, y, width, height])(document.getElementById('loss-0').getBoundingClientRect())"
    )
    top, bottom = y + 0.3 * height, y + 0.7 * height
    for kind, at in (("mousePressed", (0.4, top)), ("mouseMoved", (0.5, bottom)), ("mouseMoved", (0.6, bottom)),
                     ("mouseReleased", (0.6, bottom))):  # fmt: skip
        place = {"x": x + at[0] * width, "y": at[1], "button": "left", "buttons": 1, "clickCount": 1}
        browser.ask("Input.dispatchMouseEvent", type=kind, **place)
    browser.until(f"{ranges}[0][0] > 0")
    after = browser.run(ranges)
    assert len({tuple(one) for one in after}) == 1
    start, end = after[0]
    assert 0.2 * before[0][1] < start < end < 0.8 * before[0][1]


def test_where_fingers_scroll_no_panel_zooms_by_a_drag(browser, page):
    browser.ask("Emulation.setTouchEmulationEnabled", enabled=True)
    try:
        browser.look(page, 360)
        assert browser.run("matchMedia('(pointer: coarse)').matches")
        browser.until(READY)
        tools = "Bokeh.documents[0].roots().flatMap((plot) => plot.toolbar.tools)"
        active = browser.run(f"{tools}.filter((tool) => tool.type === 'BoxZoomTool').map((tool) => tool.active)")
        assert len(active) >= 8
        assert not any(active)
        assert browser.faults == []
    finally:
        browser.ask("Emulation.setTouchEmulationEnabled", enabled=False)


def test_the_axes_follow_a_screen_that_turns_dark(browser, page):
    browser.look(page)
    browser.until(READY)
    pixels = """(() => {
      const canvas = Bokeh.index.roots.find((view) => view.model.toolbar).canvas_view.primary.canvas;
      return canvas.toDataURL();
    })()"""
    light = browser.run(pixels)
    browser.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    browser.until(f"{pixels} !== {json.dumps(light)}")
    assert browser.faults == []


@pytest.mark.parametrize("is_paper", [True, False], ids=["paper", "no script"])
@pytest.mark.parametrize("what", ["page", "comparison"])
def test_on_paper_and_without_scripts_curves_and_rows_stand_still(browser, request, what, is_paper):
    browser.look(request.getfixturevalue(what), PAPER_PIXELS, is_paper=is_paper, scripts=is_paper)
    assert browser.run("[...document.querySelectorAll('.still')].every((still) => still.offsetHeight > 100)")
    assert not browser.run("[...document.querySelectorAll('.live')].some((live) => live.checkVisibility())")
    assert browser.run("[...document.querySelectorAll('[data-row]')].every((row) => row.offsetHeight > 10)")
    assert browser.run(OVERFLOWS) == 0
    if is_paper:
        every = "[...document.querySelectorAll('main *')].filter((one) => one.checkVisibility())"
        cut = f"{every}.filter((one) => one.getBoundingClientRect().right > innerWidth + 1)"
        assert browser.run(f"{cut}.map((one) => one.outerHTML.slice(0, 80))") == [], "nothing is cut at the right"
        assert browser.pdf().startswith(b"%PDF")
