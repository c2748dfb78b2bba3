"""The page as a person meets it: a real browser, four rendered cameras, an edge worker, a server and the page."""

from __future__ import annotations

import asyncio
import io
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from devstack import EmbeddedStack, embedded_stack
from devstack.demo.processes import Worker, workers_running
from devstack.settings import load_settings
from page.access import hash_password
from runtime.kafka_sink import Sink
from tests.page.browser import NEEDS_BROWSER, Browser, chromium

pytestmark = [pytest.mark.stack, pytest.mark.timeout(240), NEEDS_BROWSER]
CAMERAS = ["road1", "road2", "road3", "road4"]
AXE = "axe-core@4"
PHONE = (390, 844)
DESK = (1280, 900)


@dataclass(frozen=True)
class Pages:
    """Two pages of one site: an open one for this machine, and one for others, with users."""

    open: str
    guarded: str


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pages]:
    """A site at work, with one record that nobody can read."""
    out = tmp_path_factory.mktemp("site")
    users = out / "users"
    users.write_text(f"ada:change:{hash_password('lovelace')}\n")
    with asyncio.Runner() as runner:
        resources = AsyncExitStack()
        try:
            yield runner.run(_site(resources, out, users))
        finally:
            runner.run(resources.aclose())


async def _site(resources: AsyncExitStack, out: Path, users: Path) -> Pages:
    stack: EmbeddedStack = await resources.enter_async_context(embedded_stack(out / "stack"))
    site = ["--kafka", stack.bootstrap_servers, "--redis", stack.redis_url]
    works = [*site, "--set", "redis.traces=true", "--model", "shipped", "--threads", "1"]
    produces = ["produce", *site, "--loop", "--fps", "2", "--set", f"producer.state_dir={out / 'state'}"]
    for number, camera in enumerate(CAMERAS):
        produces += ["--camera", f"{camera}=scenes:{2_900_000_000 + number}"]
    shows = ["page", *site, "--set", "events.stand_s=0.4"]
    keeps = ["--harvest", str(out / "harvest.sqlite"), "--set", "harvest.max_confidence=0.95"]
    page, guarded = (
        Worker(name, out, arguments, port_flag="--port", ready_path="/api/session")
        for name, arguments in [
            ("page", [*shows, *keeps]),
            ("guarded", [*shows, "--host", "0.0.0.0", "--users", str(users)]),
        ]
    )
    workers = [
        Worker("edge", out, ["edge", *works, "--tau", "0.4"]),
        Worker("server", out, ["serve", *works]),
        page,
        guarded,
    ]
    await resources.enter_async_context(workers_running(workers))
    await resources.enter_async_context(workers_running([Worker("producer", out, produces)]))
    settings = load_settings(None, {"kafka": {"bootstrap_servers": stack.bootstrap_servers}})
    async with Sink(settings.kafka, max_request_bytes=1 << 20, max_in_flight_bytes=1 << 20) as sink:
        await (await sink.send(settings.topics.frames, b"no frame", partition=0))
    return Pages(f"http://127.0.0.1:{page.port}/", f"http://127.0.0.1:{guarded.port}/")


@pytest.fixture(scope="module")
def driver() -> Iterator[webdriver.Chrome]:
    """One headless browser for the file."""
    with chromium() as made:
        yield made


@pytest.fixture
def browser(driver: webdriver.Chrome, pages: Pages) -> Iterator[Browser]:
    """A browser on the open page; nothing severe may have happened in it."""
    made = Browser(driver, pages.open)
    made.severe()
    made.resize(DESK)
    made.scheme("light")
    yield made
    assert made.severe() == []


def show_wall(browser: Browser) -> None:
    """Every camera has a picture and a label."""
    browser.open("")
    browser.wait(
        "not four pictures",
        lambda: len([each for each in browser.all(".tile img") if each.is_displayed()]) == len(CAMERAS),
    )
    browser.wait("not four labels", lambda: "no label yet" not in browser.text())
    browser.wait("not four online", lambda: len(browser.all(".dot.on")) == len(CAMERAS))


def show_camera(browser: Browser) -> None:
    """The newest frame, and one that was sent with its patches lit."""
    browser.open("camera/road1")
    browser.wait_canvas("patches sent")
    browser.wait_text("Min-entropy of the answer")


def show_why(browser: Browser) -> None:
    """The way of the frame that the camera's view shows as sent."""
    show_camera(browser)
    # Found and clicked in one step: the view draws its links anew each second.
    click = (
        "const link = document.querySelector('[aria-label=\"Last frame that was sent\"] a');"
        "link?.click(); return Boolean(link)"
    )
    browser.wait("no way to why", lambda: browser.driver.execute_script(click))
    browser.wait_text("What the edge thought", "What the server said", "Stages")


def show_events(browser: Browser) -> None:
    """At least one event with its frames."""
    browser.open("events")
    browser.wait("no event", lambda: browser.all('main a[href^="#/why/"]'))


def show_uplink(browser: Browser) -> None:
    """Both kinds of workers are there."""
    browser.open("uplink")
    browser.wait("no chart", lambda: browser.all("svg.chart"))
    browser.wait_text("Edge workers", "Server workers", "answers/s")


def show_letters(browser: Browser) -> None:
    """The record that nobody can read."""

    def looked_again() -> list[WebElement]:
        browser.open("letters")
        browser.wait("nothing about letters", lambda: browser.all("main .card"))
        return browser.all("tbody tr")

    browser.wait("no dead letter", looked_again)


def show_teach(browser: Browser) -> None:
    """Some frames wait for a label, with the one that is looked at."""
    browser.open("teach")
    browser.wait("not two frames to label", lambda: len(browser.all('[role="option"]')) >= 2)
    browser.wait_text("to label", "answer is right")


VIEWS: dict[str, Callable[[Browser], None]] = {
    "wall": show_wall,
    "camera": show_camera,
    "why": show_why,
    "events": show_events,
    "uplink": show_uplink,
    "teach": show_teach,
    "letters": show_letters,
}


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The source of axe-core, which judges whether everybody can use a page."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("no npm on PATH to get axe-core with")
    folder = tmp_path_factory.mktemp("axe")
    got = subprocess.run(
        [npm, "pack", "--silent", AXE], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )
    if got.returncode:
        pytest.skip(f"npm does not get {AXE}: {got.stderr.strip()[-200:]}")
    (packed,) = folder.glob("*.tgz")
    with tarfile.open(packed) as archive:
        member = archive.extractfile("package/axe.min.js")
        assert member is not None
        return io.TextIOWrapper(member, "utf-8").read()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("view", VIEWS)
def test_everybody_can_use_a_view(browser: Browser, axe: str, view: str, scheme: str, tmp_path: Path) -> None:
    browser.scheme(scheme)
    VIEWS[view](browser)
    browser.shoot(tmp_path / f"{view}-{scheme}.png")
    browser.driver.execute_script(axe)
    found = browser.driver.execute_async_script("axe.run().then(arguments[0])")
    assert [(each["id"], [node["html"] for node in each["nodes"]]) for each in found["violations"]] == []


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_fits_a_phone(browser: Browser, view: str, tmp_path: Path) -> None:
    browser.resize(PHONE)
    VIEWS[view](browser)
    browser.shoot(tmp_path / f"{view}-phone.png")
    width = browser.driver.execute_script("return document.documentElement.scrollWidth")
    assert width <= PHONE[0]


def test_labels_and_pictures_go_on(browser: Browser) -> None:
    show_wall(browser)
    sources = [each.get_attribute("src") for each in browser.all(".tile img")]

    def fresh() -> bool:
        now = [each.get_attribute("src") for each in browser.all(".tile img")]
        return all(one != other for one, other in zip(sources, now, strict=True))

    browser.wait("a camera stands", fresh)


def test_a_filter_leaves_what_it_names(browser: Browser) -> None:
    show_wall(browser)
    browser.all('input[type="search"]')[0].send_keys("road3")
    browser.wait(
        "not one camera",
        lambda: (
            [each.get_attribute("data-camera") for each in browser.all(".tile:not([hidden])")] == ["road3"]
        ),
    )


def test_the_keyboard_leads_from_the_wall_to_a_camera(browser: Browser) -> None:
    show_wall(browser)
    browser.all('input[type="search"]')[0].click()
    browser.driver.switch_to.active_element.send_keys(Keys.TAB)
    browser.driver.switch_to.active_element.send_keys(Keys.ENTER)
    browser.wait("not the camera", lambda: browser.driver.current_url.endswith("#/camera/road1"))
    browser.wait_text("Newest frame")


def test_a_dead_letter_is_sent_again(browser: Browser) -> None:
    show_letters(browser)
    browser.wait_text("frames[0]")
    browser.wait(
        "nothing to send", lambda: [each for each in browser.all("main button") if each.is_enabled()]
    )[0].click()
    browser.wait_text("records sent again")


def to_label(browser: Browser) -> list[str]:
    """Which frames wait for a label, in their order."""
    return [each.get_attribute("data-id") or "" for each in browser.all('[role="option"]')]


def test_frames_are_labelled_by_keyboard_in_bulk_and_taken_back(browser: Browser) -> None:
    show_why(browser)
    browser.all(".bar button")[0].click()
    browser.wait_text("label it")
    show_teach(browser)
    before = to_label(browser)

    def press(*keys: str) -> None:
        def pressed() -> bool:
            browser.driver.switch_to.active_element.send_keys(*keys)
            return True

        browser.wait("no focus", pressed)  # once more where the list is drawn anew meanwhile

    browser.wait("no focus", lambda: browser.driver.switch_to.active_element.get_attribute("data-id"))
    press(Keys.SHIFT + Keys.ARROW_RIGHT)
    press("no such")
    press(Keys.ENTER)
    browser.wait_text("is a new class")
    press(Keys.ENTER)
    browser.wait_text("2 frames labelled “no such”")
    assert not {*before[:2]} & {*to_label(browser)}
    press("1")
    browser.wait_text("1 frame labelled")
    press(Keys.DELETE)
    browser.wait_text("1 frame left out")
    for _ in range(3):
        press(Keys.CONTROL + "z")
        browser.wait_text("taken back for")
    browser.wait_text("taken back for 2")
    assert {*before} <= {*to_label(browser)}
    press(Keys.ENTER)
    browser.wait_text("labelled as answered")
    browser.driver.execute_script(
        "const s = document.querySelector('select'); s.value = 'labelled'; s.dispatchEvent(new Event('change'))"
    )
    browser.wait("not the labelled frame", lambda: to_label(browser) == [before[0]])
    assert browser.all(".given")


def test_whoever_labels_all_there_is_goes_on_with_what_comes_next(browser: Browser) -> None:
    show_teach(browser)
    browser.wait("no focus", lambda: browser.driver.switch_to.active_element.get_attribute("data-id"))
    browser.driver.switch_to.active_element.send_keys(Keys.CONTROL + "a")
    browser.driver.switch_to.active_element.send_keys(Keys.ENTER)
    browser.wait_text("frames labelled as answered")
    browser.wait(
        "the focus is lost", lambda: browser.driver.switch_to.active_element.get_attribute("data-id")
    )


SLOW_SIGN_OUT = """
const plain = window.fetch;
let isOver = false;
window.fetch = async (url, how) => {
  if (String(url).includes("/api/logout")) {
    isOver = true;
    await new Promise((done) => setTimeout(done, 2500));
  } else if (isOver) {
    sessionStorage.setItem("asked", String(url));
  }
  return plain(url, how);
};
"""
"""Signing out takes longer than the wall waits between two pictures; what is asked for meanwhile is noted."""


def test_others_sign_in_first(browser: Browser, pages: Pages, tmp_path: Path) -> None:
    guest = Browser(browser.driver, pages.guarded)
    guest.open("")
    guest.wait_text("Sign in")
    assert not guest.all(".tile")
    guest.shoot(tmp_path / "login.png")
    for password, told in [("wrong", "wrong name or password"), ("lovelace", "road1")]:
        for name, text in [("user", "ada"), ("password", password)]:
            field = guest.all(f'input[name="{name}"]')[0]
            field.clear()
            field.send_keys(text)
        guest.all("form button")[0].click()
        guest.wait_text(told)
    guest.severe()  # the refusal of the wrong password stands there
    guest.driver.execute_script(SLOW_SIGN_OUT)
    guest.wait("no sign out", lambda: [each for each in guest.all("#sign-out") if each.is_displayed()])[
        0
    ].click()
    guest.wait_text("Password")
    assert guest.driver.execute_script("return sessionStorage.getItem('asked')") is None
