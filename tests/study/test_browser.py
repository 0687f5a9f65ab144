"""The pages in a real browser: a whole rating by keyboard, by touch on a phone, and the owner's view."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from helpers.browser import chromium
from kedge.study.records import read_records
from kedge.study.store import Store

PHONE = {"viewport": {"width": 375, "height": 667}, "has_touch": True, "is_mobile": True, "device_scale_factor": 2}
FORGED = '<img src=x onerror="document.title=1"><script>document.title=2</script>'
KEYS = {"left": "ArrowLeft", "right": "ArrowRight", "tie": "ArrowDown"}


@pytest.fixture(scope="module")
def running() -> Iterator[Any]:
    with chromium() as running:
        yield running


@pytest.fixture
def browser(running) -> Iterator[Any]:
    """The one browser, with no page open before or after a test."""
    yield running
    for context in running.contexts:
        context.close()


class Page:
    """A page of the study; fails the test on any script error, and on any request to another host."""

    def __init__(self, browser: Any, link: str, **context: Any):
        self.page = browser.new_context(**context).new_page()
        self.problems: list[str] = []
        host = link.split("/")[2]
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("console", lambda line: line.type == "error" and self.problems.append(line.text))
        self.page.on("request", lambda r: host in r.url or r.url.startswith("data:") or self.problems.append(r.url))
        self.page.goto(link, timeout=90_000)

    def view(self, name: str) -> None:
        self.page.wait_for_selector(f'body[data-view="{name}"]', timeout=60_000)

    def at(self, place: str, question: str = "") -> None:
        """Wait until the page is there, and ready for a key."""
        self.page.wait_for_function(
            "([place, of]) => !busy && document.querySelector('#place').textContent === place"
            " && document.querySelector('#of').textContent === of",
            arg=[place, question],
            timeout=60_000,
        )

    def begin(self) -> None:
        self.view("intro")
        self.press("Enter")

    def press(self, key: str) -> None:
        self.page.keyboard.press(key)


def choices(store: Store, rater: str = "r1") -> list[str]:
    return [record.choice for record in read_records(store) if record.rater == rater]


def test_a_whole_rating_by_keyboard_with_a_reload_and_an_undo(make_study, serve, browser) -> None:
    store = make_study(pairs=3, questions="preference,appeal")
    rater = Page(browser, serve(store).raters[0])
    rater.view("intro")
    assert rater.page.inner_text("#total") == "3"
    assert "answer 2 questions" in rater.page.inner_text("#intro")
    rater.begin()
    answers = ["left", "right", "tie", "left"]
    for i, choice in enumerate(answers):
        rater.at(f"{i // 2 + 1} / 3", f"{i % 2 + 1} of 2")
        rater.press(KEYS[choice])
    rater.at("3 / 3", "1 of 2")
    rater.page.reload()  # goes on where it was, without the introduction
    rater.at("3 / 3", "1 of 2")
    rater.press("Backspace")
    rater.at("2 / 3", "2 of 2")
    assert choices(store) == answers[:3]
    for place, choice in (("2 / 3", "right"), ("3 / 3", "tie"), ("3 / 3", "left")):
        rater.at(place, "1 of 2" if choice == "tie" else "2 of 2")
        rater.press(KEYS[choice])
    rater.view("finished")
    assert choices(store) == ["left", "right", "tie", "right", "tie", "left"]
    rater.page.click("#finished .undo")
    rater.at("3 / 3", "2 of 2")
    assert all(record.seconds is not None and record.seconds < 60 for record in read_records(store))
    assert rater.problems == []


def test_a_page_that_stood_open_for_days_takes_the_answer(make_study, serve, browser) -> None:
    store = make_study(pairs=2)
    rater = Page(browser, serve(store).raters[0])
    rater.begin()
    rater.at("1 / 2")
    rater.page.evaluate("shownAt -= 3 * 24 * 3600 * 1000")
    rater.press("ArrowLeft")
    rater.at("2 / 2")
    assert [record.seconds for record in read_records(store)] == [24 * 3600]
    assert rater.problems == []


def test_a_key_held_down_or_hammered_gives_one_vote_for_each_pair_that_was_seen(make_study, serve, browser) -> None:
    store = make_study(pairs=8)
    rater = Page(browser, serve(store).raters[0])
    rater.begin()
    rater.at("1 / 8")
    rater.page.keyboard.down("ArrowLeft")
    for _ in range(30):
        rater.page.keyboard.down("ArrowLeft")  # repeats, as a held key does
    rater.page.keyboard.up("ArrowLeft")
    rater.at("2 / 8")
    rater.page.evaluate(
        "for (let i = 0; i < 20; i++) document.dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowRight'}))"
    )
    rater.at("3 / 8")
    assert choices(store) == ["left", "right"]


def test_the_page_shows_the_pictures_of_the_sides_that_the_vote_means(make_study, serve, browser) -> None:
    store = make_study(pairs=4)
    rater = Page(browser, serve(store).raters[0])
    rater.begin()
    # Which side is clean is seen in the pixels: noise makes neighbours differ.
    clean = """() => {
      const rough = (side) => {
        const image = document.querySelector(`#${side} img`), canvas = new OffscreenCanvas(32, 32);
        const pen = canvas.getContext('2d');
        pen.drawImage(image, 0, 0);
        const data = pen.getImageData(0, 0, 32, 32).data;
        let sum = 0;
        for (let i = 4; i < data.length; i += 4) sum += Math.abs(data[i] - data[i - 4]);
        return sum;
      };
      return rough('left') < rough('right') ? 'left' : 'right';
    }"""
    for i in range(4):
        rater.at(f"{i + 1} / 4")
        rater.press(KEYS[rater.page.evaluate(clean)])
    rater.view("finished")
    assert {record.winner for record in read_records(store)} == {"first"}
    assert {record.choice for record in read_records(store)} == {"left", "right"}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_all_fits_and_taps_vote(make_study, serve, browser, scheme) -> None:
    prompt = "a very long prompt that goes on and on about a fox in the snow, " * 8
    store = make_study(pairs=2, name=scheme)
    with store.writing() as db:
        db.execute("UPDATE pair SET prompt = ?", (prompt,))
    rater = Page(browser, serve(store).raters[0], color_scheme=scheme, **PHONE)
    rater.view("intro")
    rater.page.tap("#start")
    rater.at("1 / 2")
    size = rater.page.evaluate("[document.documentElement.scrollWidth, document.documentElement.scrollHeight]")
    assert size == [375, 667]  # nothing to scroll, either way
    boxes = [rater.page.locator(f"#{name}").bounding_box() for name in ("left", "right", "tie")]
    assert all(box["height"] >= 40 and box["width"] >= 120 for box in boxes)  # large enough for a thumb
    assert boxes[0]["y"] + boxes[0]["height"] <= boxes[1]["y"] + 1
    assert boxes[1]["y"] + boxes[1]["height"] <= boxes[2]["y"] + 1
    rater.page.tap("#right")
    rater.at("2 / 2")
    rater.page.tap(".pair .undo")
    rater.at("1 / 2")
    rater.page.tap("#tie")
    rater.at("2 / 2")
    rater.page.tap("#left")
    rater.view("finished")
    assert choices(store) == ["tie", "left"]
    assert rater.problems == []


def test_a_prompt_made_of_html_is_shown_as_text(make_study, serve, browser) -> None:
    store = make_study(pairs=2)
    with store.writing() as db:
        db.execute("UPDATE pair SET prompt = ?", (FORGED,))
        db.execute("UPDATE rater SET name = ?", (FORGED,))
        db.execute("UPDATE model SET name = ? || id", (FORGED,))
    server = serve(store)
    rater = Page(browser, server.raters[0])
    rater.begin()
    rater.at("1 / 2")
    assert rater.page.inner_text("#prompt") == FORGED
    owner = Page(browser, server.owner)
    owner.page.wait_for_selector("#raters tr")
    owner.page.click("#pairs button")
    assert owner.page.inner_text("#prompt") == FORGED
    assert FORGED in owner.page.inner_text("#raters")
    owner.page.wait_for_timeout(300)
    for page in (rater, owner):
        assert page.page.title() == "Which picture is better?"
        assert page.problems == []


def test_the_owner_stops_the_study_and_raters_see_it_and_go_on(make_study, serve, browser) -> None:
    store = make_study(pairs=3)
    server = serve(store)
    owner, rater = Page(browser, server.owner), Page(browser, server.raters[0])
    assert not owner.page.is_visible("#look")  # no pair was chosen, so none is shown
    rater.begin()
    rater.at("1 / 3")
    rater.press("ArrowLeft")
    rater.at("2 / 3")
    owner.page.wait_for_function(
        "() => document.querySelector('#votes').textContent === '1 of 6 votes'", timeout=60_000
    )
    owner.page.click("#toggle")
    owner.page.wait_for_function("() => document.querySelector('#state').textContent === 'stopped'")
    rater.press("ArrowLeft")
    rater.view("stopped")
    owner.page.click("#toggle")
    rater.at("2 / 3")
    assert choices(store) == ["left"]
    owner.page.fill("#name", "Late")
    owner.page.press("#name", "Enter")
    owner.page.wait_for_function("() => document.querySelectorAll('#raters tr').length === 3")
    assert [name for name, _ in store.links()] == ["Rater 1", "Rater 2", "Late"]
    assert [problem for problem in rater.problems if "403" not in problem] == []


def test_a_lost_connection_is_said_and_the_answer_is_sent_again(make_study, serve, browser) -> None:
    store = make_study(pairs=3)
    rater = Page(browser, serve(store).raters[0])
    rater.begin()
    rater.at("1 / 3")
    rater.page.wait_for_timeout(300)  # the next pictures are loaded ahead
    rater.page.context.set_offline(True)
    rater.press("ArrowRight")
    rater.page.wait_for_selector("#toast:not([hidden])")
    assert choices(store) == []
    rater.page.context.set_offline(False)
    rater.at("2 / 3")
    assert choices(store) == ["right"]


def test_the_text_of_a_pair_never_stands_above_the_pictures_of_another(make_study, serve, browser) -> None:
    """While the next pictures are on their way, all of the old pair stays, and keys do nothing."""
    store = make_study(pairs=3)
    prompts = [row["prompt"] for row in store.db.execute(
        "SELECT p.prompt FROM showing s JOIN pair p ON p.id = s.pair WHERE s.rater = 1 ORDER BY s.position"
    )]  # fmt: skip
    rater = Page(browser, serve(store).raters[0])
    held: list[Any] = []
    rater.page.route("**/picture/1/*", lambda route: held.append(route))
    rater.begin()
    rater.at("1 / 3")
    rater.press("ArrowLeft")
    rater.page.wait_for_selector("#toast:not([hidden])")
    assert "Loading" in rater.page.inner_text("#toast")
    rater.press("ArrowLeft")
    assert (rater.page.inner_text("#prompt"), rater.page.inner_text("#place")) == (prompts[0], "1 / 3")
    for route in held:
        route.continue_()
    rater.page.unroute("**/picture/1/*")
    rater.at("2 / 3")
    assert rater.page.inner_text("#prompt") == prompts[1]
    assert choices(store) == ["left"]
    assert rater.problems == []


def test_a_wrong_link_says_so(make_study, serve, browser) -> None:
    server = serve(make_study())
    page = browser.new_page()
    assert page.goto(f"{server.url}/r/nobody/").status == 404


# What a tree for screen readers and a person on a phone need, looked at in the browser itself.
SPOKEN = """() => {
  const shown = (element) => element.checkVisibility();
  const name = (element) => (element.getAttribute('aria-label') || element.innerText || element.alt
    || [...element.querySelectorAll('img')].map((image) => image.alt).join(' ') || '').trim();
  const all = (selector) => [...document.querySelectorAll(selector)].filter(shown);
  return {
    headings: all('h1').length,
    nameless: all('button, input, a, th').filter((element) => !name(element)).map((element) => element.outerHTML),
    silent: all('img').filter((image) => !image.alt).map((image) => image.outerHTML),
    outside: all('[role=progressbar]').filter((element) => !element.closest('main, header')).length,
    small: all('button').filter((button) => Math.min(button.offsetWidth, button.offsetHeight) < 24).length,
    stuck: all('.scroll').filter((element) => element.scrollWidth > element.clientWidth && element.tabIndex < 0).length,
  };
}"""


def test_pages_say_what_they_show_to_those_who_do_not_see_them(make_study, serve, browser) -> None:
    store = make_study(pairs=2)
    server = serve(store)
    rater, owner = Page(browser, server.raters[0], **PHONE), Page(browser, server.owner, **PHONE)
    fine = {"headings": 1, "nameless": [], "silent": [], "outside": 0, "small": 0, "stuck": 0}
    rater.view("intro")
    assert rater.page.evaluate(SPOKEN) == fine
    rater.page.tap("#start")
    rater.at("1 / 2")
    assert rater.page.evaluate(SPOKEN) == fine
    header = rater.page.locator(".pair header")
    assert header.get_attribute("aria-live") == "polite"  # a new pair is read out whole, though the question stays
    assert header.get_attribute("aria-atomic") == "true"
    owner.page.wait_for_selector("#raters tr")
    owner.page.click("#pairs button")
    assert owner.page.evaluate(SPOKEN) == fine
    alt = owner.page.get_attribute("#first", "alt")
    assert alt == f"first picture of: {owner.page.inner_text('#prompt')}"
    link = owner.page.locator("#raters button").first.bounding_box()
    assert link["x"] + link["width"] <= 375  # the link can be copied without scrolling


def test_a_wrong_link_is_a_page_with_words(make_study, serve, browser) -> None:
    server = serve(make_study(pairs=2))
    for address in ("/r/" + "x" * 43 + "/", "/o/wrong", "/r/", "/nothing"):
        page = browser.new_context().new_page()
        answer = page.goto(server.url + address)
        assert answer.status == 404
        assert page.inner_text("h1") == "This page cannot be shown"
