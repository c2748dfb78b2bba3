"""The README's walk: see why, hear of an event, add a camera, correct ten labels, teach, run the new pair."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import SimpleQueue

import pytest
from selenium.webdriver.common.keys import Keys

from devstack.demo.clip import make_clip
from tests.page.browser import NEEDS_BROWSER, Browser, chromium

pytestmark = [pytest.mark.stack, pytest.mark.timeout(400), NEEDS_BROWSER]
SACCADE = [sys.executable, "-m", "saccade"]
LABELS = 10


class Receiver(ThreadingHTTPServer):
    """Somebody who is told of events."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Told)
        self.events: SimpleQueue[dict[str, object]] = SimpleQueue()


class _Told(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        self.server.events.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


class Demo:
    """A running demo, as one reads of it: its page, and how other commands reach it."""

    def __init__(self, out: Path, child: subprocess.Popen[str]) -> None:
        self.out = out
        self.child = child
        self.lines: list[str] = []
        self.flags = self._said(r"==> for commands in other terminals: (.*)").split()
        self.page = self._said(r"==> page (\S+)")
        # Ends with the process, whose last words it hears.
        self._rest = threading.Thread(target=self.lines.extend, args=(child.stderr,))
        self._rest.start()

    def _said(self, pattern: str) -> str:
        assert self.child.stderr is not None
        for line in self.child.stderr:
            self.lines.append(line)
            found = re.search(pattern, line)
            if found:
                return found[1]
        raise AssertionError("".join(self.lines))

    def stop(self) -> str:
        """It ends as by Ctrl-C; all that it said."""
        self.child.send_signal(signal.SIGINT)
        assert self.child.wait(timeout=120) == 0, "".join(self.lines)
        self._rest.join()
        return "".join(self.lines)


@contextmanager
def demo_at_work(out: Path, webhook: str) -> Iterator[Demo]:
    told = os.environ | {"SACCADE__EVENTS__WEBHOOK_URL": webhook}
    command = [*SACCADE, "demo", "--seconds", "600", "--fps", "3", "--server-workers", "1", "--out", str(out)]
    with subprocess.Popen(
        command, env=told, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as child:
        try:
            yield Demo(out, child)
        finally:
            child.terminate()
            child.wait()


def say(*arguments: str) -> str:
    """What the command prints; it succeeds."""
    done = subprocess.run([*SACCADE, *arguments], capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_person_can_see_steer_and_teach(tmp_path: Path, receiver: Receiver) -> None:
    webhook = f"http://127.0.0.1:{receiver.server_port}/"
    with demo_at_work(tmp_path / "demo", webhook) as demo, chromium() as driver:
        browser = Browser(driver, demo.page)
        redis = demo.flags[2:]
        see_why(browser)
        event = receiver.events.get(timeout=60)
        assert {"id", "camera", "label"} <= event.keys()
        with a_camera_more(tmp_path, demo.flags):
            browser.open("")
            browser.wait("no camera yard", lambda: browser.all('.tile[data-camera="yard"] img'))
            browser.open("camera/yard")
            browser.wait_text("Newest frame")
            correct(browser)
        export, pair = tmp_path / "labelled", tmp_path / "pair"
        said = say("harvest", "export", str(export), "--harvest", str(demo.out / "harvest.sqlite"))
        assert f"{LABELS} labelled frames" in said
        report = say("train", "--data", str(export), "--out", str(pair), "--work", str(tmp_path / "work"))
        assert "before → after" in report
        assert "runs" in say("models", "deploy", str(pair), *redis)
        models = [json.loads(line) for line in say("models", "--json", *redis).splitlines()]
        assert {each["role"] for each in models} == {"edge", "server"}
        assert {(each["generation"], each["failed"]) for each in models} == {(1, False)}
        see_why(browser)
        say("models", "back", *redis)
        assert " 0 missing" in demo.stop()


def see_why(browser: Browser) -> None:
    """A frame that the server was asked about now, from the wall by its camera to the reasons."""
    browser.open("")
    browser.wait("no camera", lambda: browser.all(".tile img"))
    browser.open("camera/road1")
    browser.wait_canvas("patches sent")
    link = browser.wait("no way to why", lambda: browser.all('[aria-label="Last frame that was sent"] a'))[0]
    browser.driver.execute_script("arguments[0].click()", link)
    browser.wait_text("What the edge thought", "What the server said", "Stages")


@contextmanager
def a_camera_more(folder: Path, flags: list[str]) -> Iterator[None]:
    """A clip plays as the camera `yard` of a cameras file."""
    (folder / "cameras.toml").write_text(f'[yard]\nsource = "{make_clip(folder)}"\nloop = true\nfps = 3\n')
    command = ["produce", "--cameras", str(folder / "cameras.toml"), *flags]
    state = ["--set", f"producer.state_dir={folder / 'state'}"]
    with subprocess.Popen(
        [*SACCADE, *command, *state], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as child:
        try:
            yield
        finally:
            child.terminate()


def correct(browser: Browser) -> None:
    """Ten frames get a label: the first is another than answered, the others are as answered."""

    def waiting() -> list[str | None]:
        return [each.get_attribute("data-id") for each in browser.all('[role="option"]')]

    def enough() -> bool:
        browser.open("teach")
        browser.wait("nothing about frames", lambda: "to label" in browser.text())
        return len(waiting()) >= LABELS

    browser.wait("not ten frames to label", enough)
    for number in range(LABELS):
        first = browser.wait("no frame to label", waiting)[0]
        browser.wait("no focus", lambda: browser.driver.switch_to.active_element.get_attribute("data-id"))
        browser.driver.switch_to.active_element.send_keys("1" if number == 0 else Keys.ENTER)
        browser.wait("not labelled", partial(is_gone, first, waiting))


def is_gone(frame: str | None, waiting: Callable[[], list[str | None]]) -> bool:
    """The frame waits for no label any more."""
    return frame not in waiting()
