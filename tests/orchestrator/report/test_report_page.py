"""The page in a real browser: it shows everything, fits its window and enlarges crops."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from report_fixture import example_report

from orchestrator.report.html import render_html

webdriver = pytest.importorskip("selenium.webdriver")
pytestmark = pytest.mark.browser

CHROMIUM, DRIVER = Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[webdriver.Chrome]":
    if not (CHROMIUM.exists() and DRIVER.exists()):
        pytest.skip("needs /usr/bin/chromium and /usr/bin/chromedriver")
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in [*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(str(DRIVER)))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("report")
    page = folder / "report.html"
    page.write_text(render_html(example_report(folder), folder), encoding="utf-8")
    return page.as_uri()


def show(browser: "webdriver.Chrome", address: str, width: int, script: bool = True) -> None:
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": not script})
    browser.get(address)


def first_crop_width(browser: "webdriver.Chrome") -> float:
    return browser.find_element("css selector", ".panel img").rect["width"]


def click_first_crop(browser: "webdriver.Chrome") -> None:
    image = browser.find_element("css selector", ".panel img")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", image)
    image.click()


@pytest.mark.parametrize("width", [1200, 400])
def test_page_is_whole_and_fits(browser: "webdriver.Chrome", address: str, width: int) -> None:
    show(browser, address, width)
    assert browser.get_log("browser") == []
    assert len(browser.find_elements("css selector", "section.domain")) == 4
    pictures = browser.execute_script("return [...document.images].map(i => i.complete && i.naturalWidth)")
    assert len(pictures) == 48
    assert all(pictures)
    page, window = browser.execute_script(
        "return [document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    )
    assert page <= window


def test_a_click_enlarges_a_crop_and_keys_move_and_close(browser: "webdriver.Chrome", address: str) -> None:
    show(browser, address, 1200)
    small = first_crop_width(browser)
    click_first_crop(browser)
    assert first_crop_width(browser) > 3 * small
    keys = browser.switch_to.active_element
    keys.send_keys("\ue014")
    checked = "return [...document.querySelectorAll('.panel input')].map(i => i.checked).indexOf(true)"
    assert browser.execute_script(checked) == 1
    browser.switch_to.active_element.send_keys("\ue00c")
    assert browser.execute_script(checked) == -1
    assert first_crop_width(browser) == small


def test_a_click_enlarges_a_crop_without_scripts(browser: "webdriver.Chrome", address: str) -> None:
    show(browser, address, 1200, script=False)
    small = first_crop_width(browser)
    assert browser.find_elements("css selector", ".code button") == []
    click_first_crop(browser)
    assert first_crop_width(browser) > 3 * small
    click_first_crop(browser)
    assert first_crop_width(browser) == small


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_plots_follow_the_colour_scheme(browser: "webdriver.Chrome", address: str, scheme: str) -> None:
    feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    show(browser, address, 1200)
    ink, page = browser.execute_script(
        "const label = document.querySelector('.plot svg text');"
        "return [getComputedStyle(label).fill, getComputedStyle(document.body).backgroundColor]"
    )
    brightness = [sum(map(int, colour[4:-1].split(","))) / 3 for colour in (ink, page)]
    assert abs(brightness[0] - brightness[1]) > 150
    assert (brightness[0] > brightness[1]) is (scheme == "dark")
