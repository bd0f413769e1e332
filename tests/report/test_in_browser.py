"""The page as a person sees it: in Chromium, light and dark, on a phone and on a desktop.

Without a Chromium these tests are skipped; RLLIB_BIAC_BROWSER=required turns that into a failure.
"""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest

from rllib_biac.report.comparison import compare
from rllib_biac.report.page import write_comparison, write_report
from tests.report import chromium, results

# Chromium takes its time to start.
pytestmark = pytest.mark.slow

PHONE, DESKTOP = 375, 1280


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    binary = chromium.find()
    if binary is None:
        missing = "there is no Chromium (on Debian: apt-get install chromium)"
        if os.environ.get("RLLIB_BIAC_BROWSER") == "required":
            pytest.fail(missing)
        pytest.skip(missing)
    with chromium.started(binary, tmp_path_factory.mktemp("profile")) as started:
        yield started


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("pages")
    long = "a_rather_long_name_of_an_agent_that_nobody_would_break_in_two"
    for number in range(3):
        results.trial(place / "training", number, f"lr={number},{long}", lr=number, env_config={long: [long] * 9})
    (place / "training" / "BiAC_ab12c_00000_x" / "checkpoint_000000").mkdir(parents=True)
    results.reproduction(place / "reproduction", "table2", "figure6")
    for number in range(12):
        algorithm = f"Method{number // 2}"
        results.trial(
            place / "compared" / algorithm, number, algorithm=algorithm, seed=number, env=("a", "b")[number % 2]
        )
    page, *_ = write_comparison(compare([place / "compared"], episodes=0), place / "comparison")
    return {**{kind: write_report(place / kind) for kind in ("training", "reproduction")}, "comparison": page}


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [PHONE, DESKTOP])
@pytest.mark.parametrize("kind", ["training", "reproduction", "comparison"])
def test_a_page_in_chromium(browser, pages, tmp_path, kind, width, dark):
    browser.show(pages[kind], width=width, dark=dark)
    browser.ask("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert browser.ask("innerWidth") == width
    assert browser.ask("document.documentElement.scrollWidth") <= width
    cut = "[...document.querySelectorAll('.data')].filter(t => t.scrollWidth > t.parentElement.clientWidth).length"
    assert browser.ask(cut) == 0
    browser.screenshot(tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size > 10_000
    assert browser.complaints() == []
    assert browser.requests() == []
    assert "hacked" not in browser.ask("document.title")
    pictures = browser.ask("[...document.images].map(i => i.complete && i.naturalWidth > 0 && i.alt !== '')")
    assert all(pictures) and len(pictures) == (2 if kind == "reproduction" else 0)


@pytest.mark.parametrize("kind", ["training", "reproduction", "comparison"])
def test_headings_are_in_order_and_everything_has_a_name(browser, pages, kind):
    browser.show(pages[kind], width=DESKTOP, dark=False)
    levels = browser.ask("[...document.querySelectorAll('h1,h2,h3,h4')].map(h => +h.tagName[1])")
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert browser.ask("document.documentElement.lang") == "en"
    assert browser.ask("[...document.querySelectorAll('svg')].every(s => s.getAttribute('aria-label'))")
    assert browser.ask("[...document.querySelectorAll('th')].every(h => h.scope)")
    assert browser.ask("[...document.querySelectorAll('nav a')].every(a => document.querySelector(a.hash))")
    ids = browser.ask("[...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) == len(set(ids))


CONTRAST = """
(() => {
  const channel = c => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const light = rgb => 0.2126 * channel(rgb[0]) + 0.7152 * channel(rgb[1]) + 0.0722 * channel(rgb[2]);
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const rgb = colour => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
                          return [...canvas.getImageData(0, 0, 1, 1).data]; };
  const ground = e => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor);
                                                       if (c[3] === 255) return c; } return [255, 255, 255]; };
  const ratio = (a, b) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  const texts = [...document.querySelectorAll('body *')].filter(e => [...e.childNodes].some(
    n => n.nodeType === 3 && n.textContent.trim()) && !e.closest('.hidden, title'));
  return texts.map(e => [ratio(light(rgb(getComputedStyle(e)[e.closest('svg') ? 'fill' : 'color'])), light(ground(e))),
                         e.textContent.trim().slice(0, 30)]).filter(([r]) => r < 4.5);
})()
"""


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("kind", ["training", "reproduction", "comparison"])
def test_contrast_of_all_text(browser, pages, kind, dark):
    browser.show(pages[kind], width=DESKTOP, dark=dark)
    assert browser.ask(CONTRAST) == []
