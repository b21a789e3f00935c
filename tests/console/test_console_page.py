"""The live page in a real browser: worker, broker (the simulator), console and Chromium, each as a user runs it.

With CONSOLE_SHOTS=FOLDER its screenshots are kept there.
"""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import psutil
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from schemas.catalog import CatalogItem
from schemas.codec import encode
from streams.demo.shop import make_shop
from tests.console.browser import running_browser
from tests.console.served import Served

pytestmark = pytest.mark.timeout(180)

DEADLINE_MS = 10_000
"""From a click to a changed list: some 50 ms on a machine of its own, more where others work beside."""
SIZES = {"wide": (1440, 900), "phone": (375, 812)}
NARROWEST = 320
SCHEMES = ("light", "dark")
MARKUP = (
    "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script><b>Bold</b> &amp; \"Brash\""
)

SHOP = make_shop(160, 1)
Open = Callable[..., Page]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    served = Served(tmp_path_factory.mktemp("console"), SHOP.items)
    for number, user in enumerate(("mia", "noah", "aisha", "kenji")):  # who else is there
        served.click(user, SHOP.items[number * 40 + 3].item_id)
    yield served
    served.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running_browser() as browser:
        yield browser


@pytest.fixture
def complaints() -> list[str]:
    """What the browser had to complain of."""
    return []


@pytest.fixture
def open_page(served: Served, browser: Browser, complaints: list[str]) -> Iterator[Open]:
    """Opens the page as a shopper; whatever the browser complains of fails the test."""
    contexts = []

    def opened(user: str, size: str = "wide", motion: str = "no-preference") -> Page:
        width, height = SIZES[size]
        context = browser.new_context(
            viewport={"width": width, "height": height},
            reduced_motion=motion,  # type: ignore[arg-type]
            device_scale_factor=1 if size == "wide" else 2,
        )
        context.set_default_timeout(30_000)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda line: complaints.append(line.text) if line.type in ("error", "warning") else None)
        page.on("requestfailed", lambda one: complaints.append(one.url) if "/api/" not in one.url else None)
        page.goto(f"{served.url}?user={user}")
        expect(page.locator(".card")).to_have_count(24)
        expect(page.locator("#link")).to_have_attribute("data-state", "live")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []


def titles(page: Page) -> list[str]:
    return page.locator(".row .title").all_inner_texts()


def shelf(page: Page, category: str) -> Any:
    """The cards that are shown of a category."""
    return page.locator(".card").filter(has=page.locator(".kind", has_text=category))


def department(page: Page, name: str) -> None:
    page.get_by_role("group", name="Departments").get_by_role("button", name=name).click()
    expect(page.locator(".chip[aria-pressed=true]").first).to_contain_text(name)
    categories = {item.category[-1] for item in SHOP.items if item.category[0] == name}
    page.wait_for_function(
        "wanted => [...document.querySelectorAll('.card .kind')].every(kind => wanted.includes(kind.textContent))",
        arg=sorted(categories),
    )


def test_a_click_changes_the_recommendations_within_the_deadline(open_page: Open) -> None:
    page = open_page("clicker")
    expect(page.locator("#list-empty")).to_contain_text("Click anything")
    expect(page.locator(".row")).to_have_count(0)

    department(page, "Kitchen")
    first = page.locator(".card").first.locator(".title").inner_text()
    page.locator(".card .open").first.click()
    expect(page.locator(".row")).to_have_count(10, timeout=DEADLINE_MS)
    expect(page.locator("#cause")).to_have_text(f"after you clicked {first}")
    expect(page.locator(".row .because").first).to_have_text(f"because you clicked {first}")
    expect(page.locator("#ms")).to_have_text(r := page.locator("#ms").inner_text())
    assert int(r.removesuffix(" ms").replace(",", "")) < DEADLINE_MS
    kitchen = titles(page)

    department(page, "Electronics")
    second = page.locator(".card").first.locator(".title").inner_text()
    page.locator(".card .open").first.click()
    expect(page.locator("#cause")).to_have_text(f"after you clicked {second}", timeout=DEADLINE_MS)
    assert titles(page) != kitchen
    assert page.locator(".row .move.fresh").count() > 0
    expect(page.locator("#said")).to_contain_text("New list after")
    expect(page.locator(".taste tbody tr")).to_have_count(2)


def test_what_is_done_reaches_the_topics_with_the_recommendation_it_came_from(open_page: Open, served: Served) -> None:
    page = open_page("buyer")
    page.locator(".card .browse").first.click()
    expect(page.locator(".row")).to_have_count(10, timeout=DEADLINE_MS)
    expect(page.locator(".card .mark").first).to_have_text("looked at")
    bought = titles(page)[2]
    page.locator(".row .buy").nth(2).click()
    expect(page.locator("#cause")).to_have_text(f"after you bought {bought}", timeout=DEADLINE_MS)
    assert bought not in titles(page)
    [browse] = [json.loads(one.value()) for one in served.records("browses") if one.key() == b"buyer"]
    [purchase] = [json.loads(one.value()) for one in served.records("purchases") if one.key() == b"buyer"]
    known = {json.loads(one.value())["recommendation_id"] for one in served.records("recommendations")}
    assert browse["session_id"] == purchase["session_id"]
    assert purchase["recommendation_id"] in known
    item = next(item for item in SHOP.items if item.item_id == purchase["item_id"])
    assert (item.title, purchase["price"], purchase["currency"]) == (bought, item.price, "EUR")


def test_markup_in_the_catalog_stays_text(open_page: Open, served: Served) -> None:
    odd = CatalogItem(item_id="<i>x</i>", title=MARKUP, category=["<u>Odd</u>", "<s>Odder</s>"], brand="<em>B</em>")
    served.put("catalog", odd.item_id, encode(odd))
    page = open_page("<b>mark</b>")
    page.locator("#words").fill("brash")
    expect(page.locator(".card")).to_have_count(1, timeout=DEADLINE_MS)
    expect(page.locator(".card .title")).to_have_text(MARKUP)
    expect(page.locator(".card .kind")).to_have_text("<s>Odder</s>")
    page.locator(".card .open").click()
    expect(page.locator("#cause")).to_have_text(f"after you clicked {MARKUP}"[: len("after you clicked ") + 79] + "…")
    expect(page.locator("#name")).to_have_text("<b>mark</b>")
    expect(page.locator(".chip", has_text="<u>Odd</u>")).to_have_count(1)
    assert page.locator("main :is(img, script, b b, em, u, s)").count() == 0
    assert "owned" not in page.title()
    # a list of somebody else that names it shows it as text, too
    other = open_page("looker")
    other.locator(".card .open").first.click()
    expect(other.locator("#others")).to_contain_text("<b>mark</b>", timeout=DEADLINE_MS)


def test_it_works_by_keyboard(open_page: Open) -> None:
    page = open_page("typist")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the shop")).to_be_focused()
    page.keyboard.press("Enter")
    while not page.evaluate("document.activeElement.matches('.card .open')"):
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator(".row")).to_have_count(10, timeout=DEADLINE_MS)
    assert page.evaluate("document.activeElement.matches('.card .open')")
    # a place of the list keeps the focus while the list changes around it
    page.locator(".row .open").nth(4).focus()
    held = page.evaluate("document.activeElement.querySelector('.title').textContent")
    page.evaluate("document.querySelector('.card:nth-child(3) .open').click()")
    expect(page.locator(".card:nth-child(3) .mark")).to_be_visible()
    expect(page.locator("#list")).not_to_have_class("list panel waiting", timeout=DEADLINE_MS)
    if held in titles(page):
        assert page.evaluate("document.activeElement.querySelector('.title')?.textContent") == held


def test_another_shopper_has_another_list(open_page: Open) -> None:
    page = open_page("first")
    page.locator(".card .open").first.click()
    expect(page.locator(".row")).to_have_count(10, timeout=DEADLINE_MS)
    page.get_by_role("button", name="New shopper").click()
    expect(page.locator(".row")).to_have_count(0)
    made_up = page.locator("#name").inner_text()
    assert made_up != "first"
    assert f"user={made_up}" in page.url
    expect(page.locator(".card .mark:visible")).to_have_count(0)
    beside = page.locator(".other", has_text="first")
    expect(beside.locator(".tile")).to_have_count(5, timeout=DEADLINE_MS)
    beside.get_by_role("button").click()
    expect(page.locator("#name")).to_have_text("first")
    expect(page.locator(".row")).to_have_count(10, timeout=DEADLINE_MS)


def test_moves_are_animated_unless_the_reader_wants_calm(open_page: Open) -> None:
    for motion, moving in (("no-preference", True), ("reduce", False)):
        page = open_page(f"mover-{motion}", motion=motion)
        page.evaluate("""() => {
            window.animated = 0;
            const animate = Element.prototype.animate;
            Element.prototype.animate = function (...given) { window.animated++; return animate.apply(this, given); };
        }""")
        for category in ("Kitchen", "Hobby"):
            department(page, category)
            title = page.locator(".card .title").first.inner_text()
            page.locator(".card .open").first.click()
            expect(page.locator("#cause")).to_have_text(f"after you clicked {title}", timeout=DEADLINE_MS)
        assert (page.evaluate("window.animated") > 0) is moving


def test_a_late_item_appears_on_the_shelves(open_page: Open, served: Served) -> None:
    page = open_page("waiter")
    late = CatalogItem(item_id="late", title="Zanzibar Latecomer", category=["Home", "Garden"], brand="New", price=3.0)
    served.put("catalog", late.item_id, encode(late))
    page.locator("#words").fill("zanzibar")
    expect(page.locator(".card")).to_have_count(1, timeout=DEADLINE_MS)
    expect(page.locator(".card .title")).to_have_text("Zanzibar Latecomer", timeout=DEADLINE_MS)


def test_a_withdrawn_item_leaves_an_open_page(open_page: Open, served: Served) -> None:
    page = open_page("keeper")
    short_lived = CatalogItem(item_id="short-lived", title="Fleeting Quokka", category=["Home", "Garden"], price=3.0)
    served.put("catalog", short_lived.item_id, encode(short_lived))
    page.locator("#words").fill("quokka")
    expect(page.locator(".card")).to_have_count(1, timeout=DEADLINE_MS)
    served.put("catalog", short_lived.item_id, encode(msgspec.structs.replace(short_lived, available=False)))
    expect(page.locator(".card")).to_have_count(0, timeout=DEADLINE_MS)


def test_chips_are_read_whole_on_a_phone(open_page: Open) -> None:
    page = open_page("thumb", "phone")
    cut = page.locator(".chip").evaluate_all("chips => chips.filter(c => c.scrollWidth > c.clientWidth).length")
    assert cut == 0


@pytest.mark.parametrize("size", SIZES)
def test_it_is_accessible_fits_and_can_be_shown(open_page: Open, tmp_path: Path, size: str) -> None:
    """In light and in dark: axe-core finds nothing serious, nothing is wider than the screen, a screenshot is made."""
    page = open_page("ada", size)
    for category in ("Coffee & Tea", "Desk", "Audio", "Audio"):
        shelf(page, category).first.locator(".open").click()
        expect(page.locator("#list")).not_to_have_class("list panel waiting", timeout=DEADLINE_MS)
    page.locator(".row .open").nth(1).click()
    expect(page.locator("#list")).not_to_have_class("list panel waiting", timeout=DEADLINE_MS)
    page.evaluate("window.scrollTo(0, 0)")
    page.mouse.move(0, 0)
    page.evaluate("document.activeElement.blur()")
    folder = Path(os.environ.get("CONSOLE_SHOTS") or tmp_path)
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        page.wait_for_function("() => document.getAnimations().length === 0")
        found = Axe().run(page).response["violations"]
        serious = [one for one in found if one["impact"] in ("serious", "critical")]
        assert [(one["id"], [node["html"][:200] for node in one["nodes"]]) for one in serious] == []
        assert page.evaluate("document.documentElement.scrollWidth") == SIZES[size][0]
        path = folder / f"console-{size}-{scheme}.png"
        page.screenshot(path=path)
        assert path.stat().st_size > 20_000
    for width in (NARROWEST, 1024):
        page.set_viewport_size({"width": width, "height": 700})
        assert page.evaluate("document.documentElement.scrollWidth") == width


def test_it_listens_on_loopback_and_talks_to_the_broker_alone(open_page: Open, served: Served) -> None:
    open_page("neighbour")
    page, broker = urlsplit(served.url).port, int(served.address.rpartition(":")[2])
    found = psutil.Process(served.console.process.pid).net_connections("inet")
    listening = [tuple(one.laddr) for one in found if one.status == psutil.CONN_LISTEN]
    assert listening == [("127.0.0.1", page)]
    own = {one.raddr.port for one in found if one.raddr and one.laddr.port != page}
    assert own == {broker}


def test_names_as_long_as_the_schema_allows_fit_every_screen(open_page: Open, served: Served) -> None:
    """Regression: the button of a department with a long name was wider than the screen."""
    long = CatalogItem(
        item_id="w" * 256,
        title="W" * 1024,
        category=["D" * 256, "C" * 256],
        brand="B" * 256,
        price=1e12,
        currency="EUR",
    )
    served.put("catalog", long.item_id, encode(long))
    served.click("u" * 256, long.item_id)
    shopping = open_page("x" * 256)
    expect(shopping.locator("#shoppers option[value^=uuuu]")).to_have_count(1, timeout=DEADLINE_MS)
    page = open_page("y" * 256)  # who is shown beside is chosen when the page opens
    expect(page.locator(".chip", has_text="D" * 256)).to_have_count(1, timeout=DEADLINE_MS)
    page.locator(".chip", has_text="D" * 256).click()
    expect(page.locator(".card")).to_have_count(1, timeout=DEADLINE_MS)
    page.locator(".card .open").first.click()
    expect(page.locator("#cause")).to_contain_text("W" * 70, timeout=DEADLINE_MS)
    expect(page.locator("#others")).to_contain_text("u" * 256, timeout=DEADLINE_MS)
    for width in (1440, 1024, 375, NARROWEST):
        page.set_viewport_size({"width": width, "height": 700})
        assert page.evaluate("document.documentElement.scrollWidth") == width
    served.put("catalog", long.item_id, None)


def test_two_tabs_of_one_shopper_show_the_same(open_page: Open) -> None:
    one, two = open_page("twin"), open_page("twin")
    one.locator(".card .open").first.click()
    expect(one.locator(".row")).to_have_count(10, timeout=DEADLINE_MS)
    expect(two.locator("#cause")).to_have_text(one.locator("#cause").inner_text(), timeout=DEADLINE_MS)
    assert titles(two) == titles(one)
    expect(one.locator("#ms-words")).to_have_text("from click to list")
    expect(two.locator("#ms-words")).to_have_text("in the worker")  # it was not this tab that clicked


def test_a_tab_that_nobody_looks_at_holds_no_connection_and_catches_up(open_page: Open, served: Served) -> None:
    """Regression: a browser opens six connections to a server, so the seventh tab hung."""
    show = """hidden => {
        Object.defineProperty(document, 'hidden', { value: hidden, configurable: true });
        document.dispatchEvent(new Event('visibilitychange'));
    }"""
    tabs = [open_page("busy")]
    for _ in range(6):
        tabs[-1].evaluate(show, True)
        tabs.append(tabs[0].context.new_page())
        tabs[-1].goto(f"{served.url}?user=busy")
        expect(tabs[-1].locator(".card")).to_have_count(24)
    tabs[-1].locator(".card .open").first.click()
    expect(tabs[-1].locator(".row")).to_have_count(10, timeout=DEADLINE_MS)
    assert tabs[0].locator(".row").count() == 0
    tabs[0].evaluate(show, False)
    expect(tabs[0].locator(".row")).to_have_count(10, timeout=DEADLINE_MS)


def test_a_name_that_is_too_long_is_cut(open_page: Open) -> None:
    """Regression: the stream was refused for ever, and the page said that it was reconnecting."""
    page = open_page("n" * 300)
    expect(page.locator("#name")).to_have_text("n" * 256)
    page.locator(".card .open").first.click()
    expect(page.locator(".row")).to_have_count(10, timeout=DEADLINE_MS)


def test_a_page_whose_console_has_gone_says_so_and_goes_on_when_it_is_back(
    open_page: Open, complaints: list[str], served: Served
) -> None:
    """The last test: it takes the console from all others."""
    page = open_page("stranded")
    port = urlsplit(served.url).port
    assert port is not None
    assert served.console.stop() == 0
    expect(page.locator("#link")).to_have_text("reconnecting")
    page.locator(".card .open").first.click()
    expect(page.locator("#toast")).to_have_text("The console does not answer any more.")
    served.start_console(port)
    expect(page.locator("#link")).to_have_text("live")
    title = page.locator(".card .title").nth(1).inner_text()
    page.locator(".card .open").nth(1).click()
    expect(page.locator("#cause")).to_have_text(f"after you clicked {title}", timeout=DEADLINE_MS)
    complaints.clear()
