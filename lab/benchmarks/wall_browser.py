"""A headless Chromium on the page's wall, which notes when what was to be seen."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

_PROBE = """
window.seen = { ages: [] };
const add = EventSource.prototype.addEventListener;
EventSource.prototype.addEventListener = function (kind, handler) {
  let isFirst = true; // what stood there before
  add.call(this, kind, (event) => {
    handler(event);
    if (kind !== "labels") return;
    if (isFirst) { isFirst = false; return; }
    const written = Object.values(JSON.parse(event.data)).map((each) => each.labelled_ns / 1e6);
    requestAnimationFrame(() => seen.ages.push(...written.map((each) => Date.now() - each)));
  });
};
const inView = (tile) => { const box = tile.getBoundingClientRect(); return box.height && box.top < innerHeight; };
const labelled = (tile) => !tile.textContent.includes("no label yet");
const pictured = (tile) => {
  const img = tile.querySelector("img");
  return !img.hidden && img.complete && img.naturalWidth;
};
(function look() {
  const tiles = [...document.querySelectorAll(".tile")].filter(inView);
  if (tiles.length && !seen.labels && tiles.every(labelled)) seen.labels = performance.now();
  if (tiles.length && tiles.every(pictured)) {
    seen.pictures = performance.now();
    seen.tiles = tiles.length;
  } else {
    requestAnimationFrame(look);
  }
})();
"""


@dataclass(frozen=True, slots=True)
class FirstLook:
    """When the wall was there, in ms after its address was opened, and how many cameras were in view."""

    first_paint_ms: float
    labels_ms: float
    pictures_ms: float
    tiles: int


class NoBrowserError(Exception):
    """There is no Chromium here, or not its driver."""


class WallBrowser:
    """The browser, on nothing at first."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self._driver = driver
        driver.set_script_timeout(60)
        driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": _PROBE})

    def open(self, address: str) -> FirstLook:
        """The wall is there, as on a first visit: nothing of it was known to the browser."""
        self.close()
        self._driver.execute_cdp_cmd("Network.clearBrowserCache", {})
        self._driver.get(address)
        seen: dict[str, Any] = self._driver.execute_async_script("""
            const done = arguments[0];
            (function look() {
              const [paint] = performance.getEntriesByName("first-contentful-paint");
              if (paint && seen.pictures) done({ ...seen, paint: paint.startTime });
              else setTimeout(look, 20);
            })();""")
        return FirstLook(seen["paint"], seen["labels"], seen["pictures"], seen["tiles"])

    def ages_ms(self) -> list[float]:
        """How long after it was written each label was painted, of those since the last call."""
        found: list[float] = self._driver.execute_script("return seen.ages.splice(0)")
        return found

    def close(self) -> None:
        """The page is left, the browser stays."""
        self._driver.get("about:blank")


@contextmanager
def headless_chromium(*flags: str) -> Iterator[webdriver.Chrome]:
    """A browser that keeps what the page writes to its console, ended with the block.

    Raises:
        NoBrowserError: there is none here.
    """
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if chromium is None or driver is None:
        raise NoBrowserError("no chromium with its chromedriver on PATH")
    options = Options()
    options.binary_location = chromium
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", *flags):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    made = webdriver.Chrome(options, Service(driver))
    try:
        yield made
    finally:
        made.quit()


@contextmanager
def wall_browser() -> Iterator[WallBrowser]:
    """A browser whose window holds more than twenty cameras, ended with the block."""
    with headless_chromium("--window-size=1600,1400") as made:
        yield WallBrowser(made)
