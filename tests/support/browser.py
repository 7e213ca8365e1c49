"""A headless browser of our own, and an app for it to look at."""

import hashlib
import json
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import needs
import uvicorn
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--force-prefers-reduced-motion"),
)


@contextmanager
def chromium(folder: Path) -> Iterator[webdriver.Chrome]:
    """Skips the test where there is none."""
    needs.need("chromium", "chromedriver")
    options = Options()
    options.binary_location = str(shutil.which("chromium"))
    for flag in (*FLAGS, f"--user-data-dir={folder}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        yield browser
    finally:
        browser.quit()


@contextmanager
def served(app: Any) -> Iterator[str]:
    """The app on a free port of this machine; its address."""
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
    finally:
        server.should_exit = True
        thread.join(10)
        listening.close()


def look(browser: webdriver.Chrome, width: int, height: int = 900, dark: bool = False) -> None:
    """The window's size, narrower than a real one may be, and the time of day."""
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})


def complaints(browser: webdriver.Chrome) -> list[str]:
    """What the console was told since the last question: errors, refused loads, broken policies."""
    return [row["message"] for row in browser.get_log("browser") if row["level"] in ("SEVERE", "WARNING")]


def asked_hosts(browser: webdriver.Chrome) -> set[str]:
    """Every host that the page sent a request to."""
    told = [json.loads(row["message"])["message"] for row in browser.get_log("performance")]
    urls = [row["params"]["request"]["url"] for row in told if row["method"] == "Network.requestWillBeSent"]
    return {urlsplit(url).netloc for url in urls if not url.startswith(("data:", "blob:"))}


def until(condition: Any, seconds: float = 300) -> Any:
    """The first true answer; a page that changes under the question is asked once more."""
    deadline = time.monotonic() + seconds
    while True:
        with suppress(StaleElementReferenceException):
            if found := condition():
                return found
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.05)


def digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
