"""The page of an archive in a real browser: it fits its window, its pictures are whole, and it loads nothing."""

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from orchestrator.archive.report.footprints import FootprintMap
from orchestrator.archive.report.outcomes import SceneOutcome
from orchestrator.archive.report.page import FailureClass, Shown, render_page
from orchestrator.archive.report.record import ArchiveReport, RunFigures
from orchestrator.archive.report.thumbnails import Thumbnails
from orchestrator.foundation.page import data_uri

webdriver = pytest.importorskip("selenium.webdriver")
pytestmark = pytest.mark.browser

CHROMIUM, DRIVER = Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")


@pytest.fixture
def browser(tmp_path: Path) -> "Iterator[webdriver.Chrome]":
    if not (CHROMIUM.exists() and DRIVER.exists()):
        pytest.skip("needs /usr/bin/chromium and /usr/bin/chromedriver")
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in ("headless", "no-sandbox", "disable-gpu", "no-first-run", f"user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(str(DRIVER)))
    yield driver
    driver.quit()


def example() -> str:
    """A page with everything on it; a name is as long as names can be."""
    stream = io.BytesIO()
    Image.new("RGB", (192, 192), "green").save(stream, "PNG")
    uri = data_uri(stream.getvalue())
    scene = SceneOutcome("x" * 240 + ".tif", "/in/x.tif", "/out/x.tif", "run", "ok", flags=("bias",))
    bad = SceneOutcome("bad.tif", "/in/bad.tif", "/out/bad.tif", "run", "failed", "corrupt", "cut short " * 40)
    footprints = FootprintMap()
    for x in range(3):
        ring = [[x, 45], [x + 0.9, 45], [x + 0.9, 46], [x, 46], [x, 45]]
        footprints.add({"type": "Polygon", "coordinates": [ring]}, flagged=x == 0)
    ran = RunFigures(
        run="20260101T000000Z-abcdef",
        ended="2026-01-01T00:00:00Z",
        written=3,
        skipped=0,
        failed=1,
        megapixels=12.5,
        seconds=100.0,
        device="cpu",
        precision="float32",
        price_per_hour=2.0,
    )
    report = ArchiveReport(
        rayscale="1",
        model="base-x4",
        scale=4,
        output="/out",
        scenes=3,
        failed={"corrupt": 1},
        flagged=1,
        flags={"bias": 1},
        megapixels=12.5,
        output_bytes=10**9,
        worker_hours=0.1,
        placed=3,
        area_km2=footprints.area,
        placed_worker_hours=0.1,
        runs=[ran],
    )
    shown = [Shown(scene, Thumbnails(uri, None, uri))]
    return render_page(report, footprints.svg(), [scene], [FailureClass("corrupt", 1, [bad])], shown)


def test_page_is_whole_and_fits(browser: "webdriver.Chrome", tmp_path: Path) -> None:
    page = tmp_path / "index.html"
    page.write_text(example(), encoding="utf-8")
    for width in (1200, 400):
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        browser.get(page.as_uri())
        assert browser.get_log("browser") == []
        ids = [section.get_attribute("id") for section in browser.find_elements("css selector", "section")]
        assert ids == ["figures", "flags", "failures", "map", "scenes"]
        pictures = browser.execute_script("return [...document.images].map(i => i.complete && i.naturalWidth)")
        assert pictures == [192, 192]
        shapes = browser.execute_script(
            "const shapes = document.querySelectorAll('.map .done, .map .flagged');"
            "return [...shapes].map(shape => shape.getBoundingClientRect().width)"
        )
        assert len(shapes) == 3
        assert min(shapes) > width / 8
        page_width, window = browser.execute_script(
            "return [document.documentElement.scrollWidth, document.documentElement.clientWidth]"
        )
        assert page_width <= window
        gaps = browser.execute_script(
            "const cells = document.querySelectorAll('.n + :not(.n)');"
            "return [...cells].map(x => parseFloat(getComputedStyle(x).paddingLeft))"
        )
        assert len(gaps) == 4
        assert min(gaps) >= 12, "a text beside a number does not touch it"
