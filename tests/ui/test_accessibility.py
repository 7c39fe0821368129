"""Accessibility: axe-core's rules, tab stops, names of groups, and a layout that does not move."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

from tests.ui.screens import DESKTOP, SCREENS
from tests.ui.states import states
from tests.ui.steps import choose, example, wait_ready

pytestmark = pytest.mark.slow
Check = Callable[[Page, str], None]


@pytest.fixture(scope="module")
def check(node_folder: Path) -> Check:
    """Check a state of the page with axe-core, on each screen, one of them light and the other dark."""
    axe = (node_folder / "node_modules" / "axe-core" / "axe.min.js").read_text()

    def check_state(page: Page, state: str) -> None:
        page.evaluate(axe)
        page.add_style_tag(content="* { transition: none !important; }")
        violations = []
        # both schemes take minutes for all states; the colors of each do not depend on the screen
        for (screen, options), scheme in zip(SCREENS.items(), ("light", "dark"), strict=True):
            page.set_viewport_size(options["viewport"])
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            page.wait_for_timeout(500)  # the page follows the scheme
            found = page.evaluate("axe.run({resultTypes: ['violations']})")["violations"]
            violations += [(state, screen, scheme, *_summary(rule)) for rule in found]
        page.set_viewport_size(SCREENS[DESKTOP]["viewport"])
        assert not violations, json.dumps(violations, indent=1)

    return check_state


def _summary(rule: dict[str, Any]) -> list[str]:
    nodes = [f"{node['html'][:120]} ({node['failureSummary']})" for node in rule["nodes"]]
    return [rule["id"], rule["help"], *nodes]


def test_axe_finds_nothing_in_any_state(browser, check, weights, tmp_path):
    for name, page in states(browser, tmp_path, weights):
        check(page, name)


TAB_STOP = """() => {
  const node = document.activeElement;
  const shown = node.matches('.segments input') ? node.parentElement : node;
  const {top, bottom, left, width, height} = shown.getBoundingClientRect();
  const column = node.closest('#weights, #inputs, #outcome, #results, #page-footer');
  const bar = document.querySelector('#make-bar');
  const [x, y] = [left + width / 2, (top + bottom) / 2];
  return {
    name: node.ariaLabel || node.innerText || node.name || node.id,
    column: column && column.id,
    group: node.type === 'radio' ? node.closest('fieldset').id : null,
    y: Math.round(y + scrollY),
    isSeen: width > 0 && height > 0 && shown.checkVisibility() && y > 0 && y < innerHeight,
    isBehind: !bar.contains(node) && bar.contains(document.elementFromPoint(x, y)),
  };
}"""


MARK = """(node) => [node, node.parentElement].map((it) => {
  const {outlineStyle, outlineWidth, boxShadow, borderColor} = getComputedStyle(it);
  return [outlineStyle === 'none' ? 0 : outlineWidth, boxShadow, borderColor].join();
}).join(' | ')"""
ROW = 90  # pixels between the fields of a row, which have different heights


@pytest.mark.parametrize("screen", SCREENS)
def test_tab_stops_follow_what_is_seen(open_page, screen):
    page = open_page(**SCREENS[screen])
    example(page, "Two in turns")
    page.locator("#person1-sound").get_by_label("Play", exact=True).wait_for()
    page.locator(".person-box:visible").first.wait_for()
    page.locator("#more > button").click()
    page.evaluate("() => { document.activeElement.blur(); scrollTo(0, 0); }")
    page.mouse.click(2, 2)
    stops = []
    page.keyboard.press("Tab")
    while page.evaluate("document.activeElement !== document.body"):
        stops.append(page.evaluate(TAB_STOP))
        page.keyboard.press("Tab")
    assert [stop["name"] for stop in stops if not stop["isSeen"] or stop["isBehind"]] == []
    groups = [stop["group"] for stop in stops if stop["group"]]
    assert len(groups) == len(set(groups)), "a group of radio buttons has one tab stop"
    columns = [stop["column"] for stop in stops]
    assert list(dict.fromkeys(columns)) == ["weights", "inputs", "results", "page-footer"]
    assert columns == sorted(columns, key=list(dict.fromkeys(columns)).index)
    for before, after in itertools.pairwise(stops):
        if (
            screen == DESKTOP
            and before["column"] == after["column"]
            and "Generate video" not in after["name"]
        ):
            assert after["y"] > before["y"] - ROW, (before, after)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_what_has_the_focus_is_marked(open_page, scheme):
    page = open_page(color_scheme=scheme)
    example(page, "Two in turns")
    page.locator(".person-box:visible").first.wait_for()
    page.locator("#more > button").click()
    page.evaluate("() => { document.activeElement.blur(); scrollTo(0, 0); }")
    page.mouse.click(2, 2)
    page.keyboard.press("Tab")
    unmarked = []
    while page.evaluate("document.activeElement !== document.body"):
        focused = page.evaluate_handle("document.activeElement")
        with_focus = focused.evaluate(MARK)
        page.keyboard.press("Tab")
        if focused.evaluate(MARK) == with_focus:
            unmarked.append(focused.evaluate("node => node.outerHTML.slice(0, 120)"))
    assert unmarked == []


def test_groups_have_names_and_arrow_keys(open_page):
    page = open_page()
    choose(page, "Two in turns")
    people = page.get_by_role("group", name="Speakers")
    people.get_by_role("radio", name="Two in turns").focus()
    page.keyboard.press("ArrowRight")
    page.get_by_role("radio", name="Two at once", checked=True).wait_for()
    for number in (1, 2):
        page.get_by_role("tab", name=f"Person {number}").wait_for()
        panel = page.get_by_role("tabpanel", name=f"Person {number}")
        panel.get_by_role("group", name=f"Person {number}: source").wait_for()
        page.get_by_role("tab", name="Person 1").focus()
        page.keyboard.press("ArrowRight")
    page.get_by_role("group", name="Preset").wait_for()
    page.get_by_role("group", name="Whose videos").wait_for()


SHIFTS = """
window.shift = 0;
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.shift += entry.value;
}).observe({ type: 'layout-shift', buffered: true });
"""


@pytest.fixture
def shifting_page(browser, request) -> Iterator[Page]:
    context = browser.new_context(**SCREENS[request.param])
    page = context.new_page()
    page.add_init_script(SHIFTS)
    yield page
    context.close()


@pytest.mark.parametrize("shifting_page", SCREENS, indirect=True)
def test_the_page_does_not_move_while_it_loads(app, shifting_page):
    shifting_page.goto(app.url)
    wait_ready(shifting_page)
    shifting_page.wait_for_timeout(1000)
    assert shifting_page.evaluate("shift") < 0.05
