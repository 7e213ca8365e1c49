"""The gallery in a real browser: submitted, watched, opened, traced, drawn again; by mouse and by keys."""

import io
import json
import os
import time
from base64 import b64decode
from pathlib import Path

import numpy as np
import painted
import pytest
from browser import asked_hosts, chromium, complaints, digest, look, served, until
from PIL import Image
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from rayograph.api.app import build_app
from rayograph.api.job_service import StoreJobService
from rayograph.api.submission import Submission
from rayograph.conditioning.form import FormField
from rayograph.config import Scale
from rayograph.runs.artifact import Artifact

TOKEN = "a-long-enough-token-0123456789"
PICTURES = os.environ.get("GALLERY_SCREENSHOTS")
"""A folder for pictures of the page, for people to look at."""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("chromium")) as found:
        yield found


class Gallery:
    """The page in a browser."""

    def __init__(self, browser, folder, token=None, takes=(painted.WORDS,), **options):
        self.browser = browser
        self.store = painted.new_store(folder)
        self.painter = painted.Painter(self.store, **options)
        self.job_service = StoreJobService(
            self.store, Scale(), self.painter.start, self.painter.draw_again, read_spec=painted.read_spec(*takes)
        )
        self.app = build_app(self.store, self.job_service, painted.open_plan, None if token is None else digest(token))

    def submit(self, wait=True, **more):
        body = {"model": painted.model_name(self.store), "unit_size": 8, **more}
        artifact, _ = self.job_service.submit(Submission.model_validate(body))
        if wait:
            self.painter.join()
        return artifact.path.replace("/", "~")

    def open(self, url, width=1280, height=900, dark=False):
        look(self.browser, width, height, dark)
        self.browser.get("about:blank")
        complaints(self.browser)
        self.browser.get_log("performance")
        self.browser.get(url)

    def all(self, css):
        return [one for one in self.browser.find_elements(By.CSS_SELECTOR, css) if one.is_displayed()]

    def one(self, css):
        return until(lambda: self.all(css))[0]

    def loaded(self, css="#images img"):
        script = "return [...document.querySelectorAll(arguments[0])].filter(i => i.complete && i.naturalWidth).length"
        return self.browser.execute_script(script, css)

    def text(self, css):
        return until(lambda: [one.text for one in self.all(css)])[0]

    def press(self, *keys):
        self.browser.switch_to.active_element.send_keys(*keys)

    def picture(self, name):
        if PICTURES:
            self.browser.save_screenshot(str(Path(PICTURES) / f"gallery-{name}.png"))


@pytest.fixture
def gallery(browser, tmp_path):
    """What any page must keep to is held to at the end: a quiet console, and no request to anywhere else."""
    opened = []

    def make(token=None, **options):
        found = Gallery(browser, tmp_path / "store", token, **options)
        place = served(found.app)
        found.url = place.__enter__()
        opened.append((found, place))
        return found

    yield make
    for found, place in opened:
        browser.get("about:blank")
        hosts = asked_hosts(browser) - {""}
        place.__exit__(None, None, None)
        assert hosts <= {found.url.split("/")[2]}


def test_a_job_is_submitted_watched_opened_traced_and_drawn_again(gallery, browser):
    page = gallery()
    page.painter.allowed_units = 1
    page.painter.spoilt = {3}
    page.open(page.url)
    assert "Nothing has been drawn" in page.text("#no-jobs")
    page.one("#new-job").click()
    until(lambda: page.all("#submit option"))
    page.one("[name=row-class]").send_keys("two")
    page.one("[name=row-prompt]").send_keys("a round thing")
    page.one("[name=row-count]").clear()
    page.one("[name=row-count]").send_keys("500")
    page.picture("submit")
    page.one("#submit button[type=submit]").click()

    until(lambda: page.loaded() > 20)
    assert page.text("nav .phase") == "running"  # thumbnails are there before the job is done
    page.one("#next").click()
    until(lambda: len(page.all("#images button")) == 28)
    assert len(page.all("#images .waiting")) == 72
    browser.execute_script("scrollTo(0, 0)")
    page.picture("running")
    page.painter.allowed_units = 2
    until(lambda: len(page.all("#images button")) == 100)
    assert page.text("nav .phase") == "running"
    page.painter.allowed_units = 100
    until(lambda: page.text("#figures dd").startswith("500"))
    until(lambda: len(page.all("#images button")) == 100)
    assert page.text("#range") == "100–199 of 500"
    page.one("#next").click()
    until(lambda: page.text("#range") == "200–299 of 500")
    page.one("#previous").click()
    until(lambda: page.text("#range") == "100–199 of 500")
    page.one("#first").click()
    until(lambda: page.text("#range") == "0–99 of 500")

    page.one("#images button[title='1']").click()
    until(lambda: page.text("#view-title") == "Image 1")
    until(lambda: len(page.all("#lineage li")) == 5)
    assert [one.text for one in page.all("#lineage b")] == [
        *("sample", "train_diffusion", "encode", "train_autoencoder", "pack")
    ]
    assert "a round thing" in page.text("#record")
    assert page.text("#command").startswith("rayograph trace ")
    page.one("#again").click()
    until(lambda: page.text("#verdict") == "The same, byte for byte.")
    assert until(lambda: page.loaded("#drawn")) == 1
    page.picture("image")
    page.one("#view-next").click()
    page.one("#view-next").click()
    until(lambda: page.text("#view-title") == "Image 3")
    page.one("#again").click()
    until(lambda: "pixels differ" in page.text("#verdict"))
    assert complaints(browser) == []


def test_the_page_asks_for_what_the_model_takes_and_shows_what_was_given(gallery, browser, tmp_path):
    takes = (
        painted.WORDS,
        FormField("negative_prompt", "text", required=False),
        FormField("boxes", "boxes", names=("cat", "dog"), count=2, most=3),
        FormField("image", "image"),
        FormField("mask", "mask"),
    )
    page = gallery(takes=takes)
    picture = tmp_path / "given.png"
    picture.write_bytes(painted.paint({"seed": 1, "counter": 1}, 24))
    page.open(page.url)
    page.one("#new-job").click()
    assert until(lambda: [one.text for one in page.all("[name=row-class] option")]) == painted.CLASSES
    page.one("[name=row-class]").send_keys("two")
    page.one("[name=row-prompt]").send_keys("a round thing")
    page.one("[name=row-negative_prompt]").send_keys("square")
    canvas, *_ = page.all(".drawing")
    press = ActionChains(browser).move_to_element_with_offset(canvas, -40, -40).click_and_hold()
    press.move_by_offset(50, 40).release().perform()
    until(lambda: len(page.all(".boxes li")) == 1)
    page.all(".condition button")[0].send_keys(Keys.ENTER)  # a second box, by keys
    until(lambda: len(page.all(".boxes li")) == 2)
    page.one("[name=row-image]").send_keys(str(picture))
    until(lambda: page.all(".given"))
    mask = page.all(".drawing")[1]
    browser.execute_script("arguments[0].focus()", mask)
    page.press(Keys.ARROW_LEFT, Keys.SPACE)
    page.picture("conditions")
    time.sleep(0.3)
    page.one("#submit button[type=submit]").click()
    until(lambda: page.loaded() == 4)
    (rows,) = [page.store.read(info.key) for info in page.store.list("requests/")]
    said = json.loads(rows)
    assert (said["class"], said["prompt"], said["negative_prompt"]) == ("two", "a round thing", "square")
    assert [one["label"] for one in said["boxes"]] == ["cat", "cat"]
    left, top, right, bottom = said["boxes"][0]["box"]
    assert 0 < left < right < 1
    assert 0 < top < bottom < 1
    assert said["boxes"][1]["box"] == [0.25, 0.25, 0.75, 0.75]
    assert b64decode(said["image"].partition(",")[2]) == picture.read_bytes()
    hole = np.asarray(Image.open(io.BytesIO(b64decode(said["mask"].partition(",")[2]))))
    assert hole.shape == (48, 48)
    assert sorted(np.unique(hole)) == [0, 255]

    page.one("#images button").click()
    until(lambda: page.loaded("#given img") == 2)
    assert "square" in page.text("#record")
    assert overflows(browser) == [0, 0]
    page.press(Keys.ESCAPE)
    page.one("#filter [name=negative_prompt]").send_keys("squ", Keys.ENTER)
    until(lambda: page.text("#range").startswith("4 found"))
    assert complaints(browser) == []


def overflows(browser):
    boxes = "[document.documentElement, document.querySelector('dialog[open]')]"
    return browser.execute_script(f"return {boxes}.map(box => box ? box.scrollWidth - box.clientWidth : 0)")


def test_a_running_job_is_paused_resumed_and_cancelled_by_buttons(gallery, browser):
    page = gallery(seconds_per_unit=0.2)
    job = page.submit(wait=False, num_samples=4000)
    page.open(f"{page.url}#/job/{job}")
    page.one("#pause").click()
    until(lambda: page.text("nav .phase") == "paused")
    assert "of 4,000" in page.text("nav .told")
    page.one("#resume").click()
    until(lambda: page.text("nav .phase") == "running")
    assert "12.5/s" in page.text("nav .told")
    page.one("#cancel").click()
    until(lambda: page.text("nav .phase") == "cancelled")
    assert page.all("#cancel") == []
    assert complaints(browser) == []


def test_a_job_whose_machine_died_is_called_silent_and_its_failures_are_counted(gallery, browser):
    page = gallery(idle=True)
    job = page.submit(num_samples=24)
    artifact = Artifact(page.store, job.replace("~", "/"))
    plan = painted.RowsPlan([{"class": 0, "seed": 0, "counter": n} for n in range(24)], 8)
    dead = ["shards/samples-000001.tar"]
    painted.say(artifact, plan, 1, "running", updated="2026-01-02T03:04:05+00:00", dead=dead, lost=3, money=1.25)
    page.open(f"{page.url}#/job/{job}")
    until(lambda: page.text("nav .phase") == "silent")
    assert "silent since Jan 2" in page.text("nav .told")
    assert page.text("#job-error").startswith("Silent since Jan 2")
    figures = dict(one.text.split("\n", 1) for one in page.all("#figures div"))
    assert figures["Failures"] == "1\ndead letter · 3 sent again"
    assert figures["Cost"] == "1.25\n2 s of device time"
    assert page.all("#resume")
    assert complaints(browser) == []


def test_images_are_found_by_prompt_class_and_seed(gallery, browser):
    page = gallery()
    rows = [{"class": 0, "count": 30}, {"class": "one", "count": 3, "seed": 9, "prompt": "cat"}]
    page.open(f"{page.url}#/job/{page.submit(rows=rows)}")
    until(lambda: len(page.all("#images button")) == 33)
    for field, given in (("prompt", "cat"), ("class", "one"), ("seed", "9")):
        page.one(f"#filter [name={field}]").send_keys(given, Keys.ENTER)
        until(lambda: [one.get_attribute("title") for one in page.all("#images button")] == ["30", "31", "32"])
        page.one("#filter [type=reset]").click()
        until(lambda: len(page.all("#images button")) == 33)
    page.one("#filter [name=prompt]").send_keys("dog", Keys.ENTER)
    until(lambda: page.all("#no-images") and page.text("#no-images") == "No image fits.")
    assert complaints(browser) == []


def test_the_page_is_worked_by_keys_alone(gallery, browser):
    page = gallery()
    page.submit(num_samples=40)
    page.open(page.url)
    until(lambda: page.all("nav li a"))
    until(lambda: page.press(Keys.TAB) or page.all("nav a:focus"))
    page.press(Keys.ENTER)
    until(lambda: page.loaded())
    until(lambda: page.press(Keys.TAB) or page.all("#images button:focus"))
    outline = browser.execute_script("return getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"  # who works by keys sees where they are

    def focused():
        return browser.switch_to.active_element.get_attribute("title")

    columns = len({one.location["x"] for one in page.all("#images button")})
    assert focused() == "0"
    for key, number in ((Keys.ARROW_RIGHT, 1), (Keys.ARROW_DOWN, 1 + columns), (Keys.ARROW_LEFT, columns)):
        page.press(key)
        assert focused() == str(number)
    page.press(Keys.ENTER)
    until(lambda: page.text("#view-title") == f"Image {columns}")
    page.press(Keys.ARROW_RIGHT)
    until(lambda: page.text("#view-title") == f"Image {columns + 1}")
    page.press(Keys.ESCAPE)
    until(lambda: not page.all("#view"))
    assert focused() == str(columns + 1)
    assert complaints(browser) == []


@pytest.mark.parametrize("width", [360, 1280])
def test_no_window_is_scrolled_sideways_however_long_the_words(gallery, browser, width):
    page = gallery()
    prompt = "Donaudampfschifffahrtsgesellschaft" * 20
    job = page.submit(rows=[{"prompt": prompt, "class": 1, "count": 120}], name="a-job-of-a-rather-long-name-indeed")
    page.open(f"{page.url}#/job/{job}", width)
    until(lambda: page.loaded() > 20)

    def overflow():
        boxes = "[document.documentElement, document.querySelector('dialog[open]')]"
        return browser.execute_script(f"return {boxes}.map(box => box ? box.scrollWidth - box.clientWidth : 0)")

    assert overflow() == [0, 0]
    page.picture(f"job-{width}")
    page.one("#images button").click()
    until(lambda: len(page.all("#lineage li")) == 5)
    assert overflow() == [0, 0]
    page.picture(f"image-{width}")
    page.press(Keys.ESCAPE)
    page.one("#new-job").click()
    until(lambda: page.all("#row-list li"))
    assert overflow() == [0, 0]
    page.picture(f"submit-{width}")
    page.press(Keys.ESCAPE)
    page.open(f"{page.url}", width, dark=True)
    until(lambda: page.all("nav li"))
    assert overflow() == [0, 0]
    page.picture(f"jobs-dark-{width}")
    page.open(f"{page.url}#/job/{job}", width, dark=True)
    until(lambda: page.loaded() > 20)
    page.picture(f"job-dark-{width}")
    assert complaints(browser) == []


def test_markup_in_a_prompt_stays_text(gallery, browser):
    page = gallery()
    prompt = "<img src=x onerror=\"document.title='taken'\"><script>document.title='taken'</script>"
    page.open(f"{page.url}#/job/{page.submit(rows=[{'prompt': prompt, 'class': 0}])}")
    page.one("#images button").click()
    until(lambda: prompt in page.text("#record"))
    assert browser.title == "gallery · rayograph"
    assert browser.find_elements(By.CSS_SELECTOR, "#record img, #record script") == []
    assert complaints(browser) == []


def test_a_refused_submission_says_why_in_its_form(gallery, browser):
    page = gallery()
    page.open(page.url)
    page.one("#new-job").click()
    until(lambda: page.all("#submit option"))
    page.one("[name=row-prompt]").send_keys("x" * 60)
    browser.execute_script("document.querySelector('[name=row-prompt]').value = 'x'.repeat(5000)")
    page.one("#submit button[type=submit]").click()
    until(lambda: "expected at most 4,096 characters" in page.text("#submit-error"))
    assert page.painter.started == []


def test_a_token_is_asked_for_once_and_no_script_can_read_it(gallery, browser):
    page = gallery(TOKEN)
    page.open(f"{page.url}#/job/{page.submit(num_samples=8)}")
    field = page.one("#sign-in input")
    field.send_keys("wrong", Keys.ENTER)
    until(lambda: "token: expected this app's" in page.text("#sign-in-error"))
    page.one("#sign-in input").clear()
    page.one("#sign-in input").send_keys(TOKEN, Keys.ENTER)
    until(lambda: page.loaded() == 8)
    stored = "return document.cookie + JSON.stringify(sessionStorage) + JSON.stringify(localStorage)"
    assert browser.execute_script(stored) == "{}{}"
    browser.refresh()
    until(lambda: page.loaded() == 8)
    assert page.all("#sign-in") == []
    browser.delete_all_cookies()


def test_an_app_that_goes_away_is_told_of_and_noticed_when_it_is_back(gallery, browser):
    page = gallery()
    page.open(f"{page.url}#/job/{page.submit(num_samples=8)}")
    until(lambda: page.loaded() == 8)
    browser.execute_cdp_cmd("Network.enable", {})
    down = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
    browser.execute_cdp_cmd("Network.emulateNetworkConditions", down)
    until(lambda: page.all("#trouble") and page.text("#trouble") == "the app does not answer")
    assert page.loaded() == 8
    up = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    browser.execute_cdp_cmd("Network.emulateNetworkConditions", up)
    until(lambda: browser.execute_script("return document.getElementById('trouble').textContent") == "")
