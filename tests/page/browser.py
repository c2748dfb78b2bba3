"""A headless browser on a page, with waits that say what did not come."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.common.exceptions import TimeoutException, WebDriverException
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from lab.benchmarks.wall_browser import headless_chromium

NEEDS_BROWSER = pytest.mark.skipif(
    not (shutil.which("chromium") or shutil.which("google-chrome")) or not shutil.which("chromedriver"),
    reason="no chromium with its chromedriver on PATH",
)
WAIT_S = 60.0


def chromium() -> AbstractContextManager[webdriver.Chrome]:
    """A headless browser with the same colours everywhere, ended with the block."""
    return headless_chromium("--force-color-profile=srgb")


class Browser:
    """A browser on one page, with waits that say what did not come."""

    def __init__(self, driver: webdriver.Chrome, address: str) -> None:
        self.driver = driver
        self.address = address

    def open(self, view: str) -> None:
        """The view is on its way."""
        self.driver.get("about:blank")
        self.driver.get(f"{self.address}#/{view}")

    def all(self, selector: str) -> list[WebElement]:
        """Every element of a CSS selector."""
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def wait(self, what: str, found: Callable[[], Any]) -> Any:
        """What `found` returns once it is true."""

        def look(_: object) -> Any:
            try:
                return found()
            except WebDriverException:
                return None  # it is being drawn anew: the driver has several words for that

        try:
            return WebDriverWait(self.driver, WAIT_S, 0.1).until(look)
        except TimeoutException:
            raise AssertionError(f"{what}; the page says: {self.text()}") from None

    def text(self) -> str:
        """All that can be read."""
        return self.driver.find_element(By.TAG_NAME, "body").text

    def wait_text(self, *texts: str) -> None:
        """Each text can be read."""
        wanted = [text.lower() for text in texts]
        self.wait(f"not {texts}", lambda: all(text in self.text().lower() for text in wanted))

    def wait_canvas(self, told: str) -> None:
        """A canvas whose description holds `told`."""
        self.wait(f"no picture {told!r}", lambda: self.all(f'canvas[aria-label*="{told}"]'))

    def severe(self) -> list[str]:
        """What went wrong in the browser since the last call."""
        found = self.driver.get_log("browser")  # type: ignore[no-untyped-call]
        return [each["message"] for each in found if each["level"] == "SEVERE"]

    def resize(self, size: tuple[int, int]) -> None:
        """The page is as wide and high as on such a screen, however small a window may be."""
        width, height = size
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def scheme(self, name: str) -> None:
        """The person prefers `light` or `dark`."""
        features = [{"name": "prefers-color-scheme", "value": name}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def shoot(self, path: Path) -> None:
        """A picture of what is seen."""
        self.driver.save_screenshot(str(path))
