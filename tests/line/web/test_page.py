"""The operator's page in Chromium: layout, text, buttons, keyboard and screen reader."""

from __future__ import annotations

import importlib.resources
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from ast_edge.errors import LineError
from ast_edge.line.config.options import Secret
from ast_edge.line.web.board import Board
from ast_edge.line.web.server import WebOptions, WebServer
from ast_edge.line.web.view import WebView
from tests.line.parts import StillStation
from tests.line.web.browser import Browser, browser
from tests.line.web.samples import THRESHOLD, shown_part
from tests.waiting import free_port, wait_for

pytestmark = pytest.mark.slow

TOKEN = "correct horse battery"  # noqa: S105 (of a server that lives for a test)
SCREENS = {"phone": (390, 844), "panel": (1280, 800), "large": (1920, 1080)}
HOSTILE = "<img src=x onerror=document.title='owned'><script>document.title='owned'</script>"


@dataclass
class Bench:
    """A page over a board, without a station."""

    port: int = field(default_factory=free_port)
    board: Board = field(default_factory=Board)
    facts: dict[str, object] = field(default_factory=dict)
    asked: list[tuple[str, ...]] = field(default_factory=list)
    state: str = "running"

    def shown(self) -> Mapping[str, object]:
        rows = [("camera", "gige://10.0.0.5", True), ("trigger", "modbus", True), ("output", "mes", False)]
        return {
            "station": "bench",
            "run": "run",
            "state": self.state,
            "ready": self.state == "running",
            "not_ready": [],
            "recipe": "cap-blue",
            "recipes": ["cap-blue", "cap-red"],
            "recipe_error": "",
            "obstacles": [],
            "alarm_kinds": [],
            "threshold": THRESHOLD,
            "passed": 12345,
            "rejected": 7,
            "faults": 2,
            "triggers": 12354,
            "warnings": [],
            "can_change": True,
            "counterparts": [
                {
                    "name": f"{kind} {name}",
                    "kind": kind,
                    "state": "live" if connected else "away",
                    "connected": connected,
                    "detail": "some words from the counterpart",
                }
                for kind, name, connected in rows
            ],
            **self.board.as_dict(),
            **self.facts,
        }

    def view(self) -> WebView:
        def nothing(*_: object) -> Mapping[str, object]:
            return {}

        def recipe(name: str, operator: str) -> Mapping[str, object]:
            self.asked.append(("recipe", name, operator))
            return {}

        def rollback(operator: str) -> Mapping[str, object]:
            raise LineError(f"there is no recipe before, {operator}")

        def change(state: str, operator: str) -> Mapping[str, object]:
            self.asked.append((state, operator))
            self.state = state
            return {}

        return WebView(
            bytes,
            dict,
            tuple,
            tuple,
            nothing,
            recipe,
            rollback,
            board=self.shown,
            picture=self.board.pictures.get,
            pause=lambda operator: change("paused", operator),
            resume=lambda operator: change("running", operator),
            acknowledge=lambda _: {"acknowledged": self.board.acknowledge()},
        )

    def url(self, language: str = "en") -> str:
        return f"http://127.0.0.1:{self.port}/?lang={language}"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setenv("WEB_TOKEN", TOKEN)
    found = Bench()
    found.board.start(StillStation())
    server = WebServer(WebOptions(port=found.port, token=Secret(env="WEB_TOKEN")), found.view())
    server.start()
    yield found
    server.close()
    found.board.close(5)


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture
def tab(chromium: Browser) -> Iterator[Browser]:
    chromium.complaints.clear()
    chromium.ask("Emulation.setEmulatedMedia", features=[])
    chromium.screen(*SCREENS["panel"])
    yield chromium
    chromium.ask("Page.navigate", url="about:blank")  # before the server ends
    assert chromium.complaints == [], "an error, or a request to somewhere else"


def seen(bench: Bench, tab: Browser, language: str = "en") -> None:
    """The page is open and has shown the station."""
    tab.open(bench.url(language))
    tab.until("document.getElementById('triggers').textContent.length > 1")


def some_parts(bench: Bench) -> None:
    for number in range(1, 61):
        bench.board.put(shown_part(number))
    bench.board.put(shown_part(61, "fault", reason="no frame arrived in time (camera stalled)"))
    bench.board.put(shown_part(62, "reject", reason="score 0.55 is above the threshold"))
    wait_for(lambda: bench.board.pictures.has("run-0000062"))


@pytest.mark.parametrize("language", ["en", "de", "ja", "zh"])
@pytest.mark.parametrize("screen", SCREENS)
def test_it_fits_every_screen_in_every_language(
    bench: Bench, tab: Browser, tmp_path: Path, screen: str, language: str
) -> None:
    some_parts(bench)
    tab.screen(*SCREENS[screen])
    seen(bench, tab, language)
    tab.until("document.getElementById('picture').naturalWidth > 0")
    assert tab.value("document.documentElement.lang") == language
    assert tab.value("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    boxes = "main > *, .stack > *, .word-box, dd, #control button, #line b"
    wider = (
        f"[...document.querySelectorAll({boxes!r})].filter(node => node.scrollWidth > node.clientWidth + 1)"
    )
    assert tab.value(f"{wider}.filter(node => getComputedStyle(node).display !== 'inline').length") == 0
    word = tab.value("document.getElementById('word').getBoundingClientRect().toJSON()")
    assert word["height"] > 45
    assert 0 <= word["left"] < word["right"] <= SCREENS[screen][0]
    path = tmp_path / "screen.png"
    tab.picture(path)
    assert path.stat().st_size > 20_000


_LINES_OF_WORD = """(() => {
  const text = document.getElementById('recipe-now').firstChild, range = document.createRange();
  const start = text.data.indexOf('しきい値');
  range.setStart(text, start);
  range.setEnd(text, start + 4);
  return new Set([...range.getClientRects()].map(box => box.top)).size;
})()"""


def test_japanese_words_are_not_broken(bench: Bench, tab: Browser) -> None:
    some_parts(bench)
    for width in range(330, 820, 35):
        tab.screen(width, 900)
        seen(bench, tab, "ja")
        assert tab.value(_LINES_OF_WORD) == 1, width


def test_the_verdict_can_be_read_from_three_metres(bench: Bench, tab: Browser) -> None:
    """Letters of 1/300 of the distance are read with ease: 10 mm at 3 m.

    A 10-inch panel of 1280 pixels is 217 mm wide, so they must be 59 pixels high at least.
    """
    tab.screen(*SCREENS["panel"])
    for number, verdict in enumerate(("reject", "fault", "pass")):
        part = shown_part(number + 1, verdict, at_ns=time.monotonic_ns() + number * 5_000_000_000)  # type: ignore[arg-type]
        bench.board.put(part)
        seen(bench, tab)
        tab.until(f"document.getElementById('now').classList.contains('{verdict}')")
        size = tab.value("parseFloat(getComputedStyle(document.getElementById('word')).fontSize)")
        assert 0.7 * size >= 59  # capitals take 70 % of it
        assert tab.text("#word") == verdict.upper()
        # A shape of its own, for eyes that do not tell the colours apart.
        mark = "getComputedStyle(document.querySelector('.mark'))"
        shape = tab.value(f"{mark}.clipPath + {mark}.borderRadius")
        assert {"pass": "50%", "reject": "70% 0", "fault": "50% 4%"}[verdict] in shape.replace("0px", "0")


def test_what_a_fault_says_and_asks_for(bench: Bench, tab: Browser) -> None:
    bench.board.put(shown_part(1, "fault", reason="no frame arrived in time (camera stalled)"))
    seen(bench, tab, "de")
    assert tab.text("#word") == "STÖRUNG"
    assert tab.text("#what") == "Von diesem Teil gibt es kein Bild."
    assert "Kabel" in tab.text("#do")
    assert tab.text("#reason") == "no frame arrived in time (camera stalled)"
    assert "Ausgang mes ist nicht erreichbar" in tab.text("#line")


def test_an_alarm_is_said_in_words(bench: Bench, tab: Browser) -> None:
    bench.facts = {"alarm_kinds": ["stuck"], "warnings": ["no part was rejected for 500 parts"]}
    seen(bench, tab, "de")
    assert tab.value("document.getElementById('state').className") == "state alarm"
    assert tab.text("#notices").startswith("! Seit langem wurde kein Teil ausgeschleust.")
    assert tab.text("#warnings") == "no part was rejected for 500 parts"


@pytest.mark.parametrize(("language", "number"), [("en", "12,345"), ("de", "12.345"), ("ja", "12,345")])
def test_numbers_are_the_readers(bench: Bench, tab: Browser, language: str, number: str) -> None:
    bench.board.put(shown_part(1))
    seen(bench, tab, language)
    assert tab.text("#pass") == number
    text = tab.text("body")
    assert "0,3333" in text if language == "de" else "0.3333" in text
    assert "33333" not in text, "no threshold has 16 digits"


def test_the_browsers_language_is_taken(bench: Bench, tab: Browser) -> None:
    tab.language("ja-JP", "en")
    tab.ask("Network.setExtraHTTPHeaders", headers={"Accept-Language": "ja-JP,en;q=0.5"})
    try:
        tab.open(f"http://127.0.0.1:{bench.port}/")
        assert tab.value("document.documentElement.lang") == "ja"
    finally:
        tab.ask("Network.setExtraHTTPHeaders", headers={})
        tab.language("en-US")


def test_text_from_outside_stays_text(bench: Bench, tab: Browser) -> None:
    bench.board.put(shown_part(1, "fault", reason=HOSTILE))
    row = {"name": f"output {HOSTILE}", "kind": "output", "state": "away", "connected": False}
    bench.facts = {
        "station": HOSTILE,
        "recipe": HOSTILE,
        "recipes": [HOSTILE],
        "warnings": [HOSTILE],
        "not_ready": [HOSTILE],
        "ready": False,
        "counterparts": [{**row, "detail": HOSTILE}],
    }
    seen(bench, tab)
    for place in ("#name", "#recipe-now", "#reason", "#warnings", "#line"):
        assert HOSTILE in tab.text(place), place
    time.sleep(0.5)
    assert tab.value("document.title") == "ast-edge"
    assert tab.value("document.querySelectorAll('[onerror]').length") == 0


def test_a_heat_map_can_be_taken_away(bench: Bench, tab: Browser) -> None:
    some_parts(bench)
    seen(bench, tab)
    tab.until("document.getElementById('picture').src.endsWith('run-0000062?kind=heat')")
    tab.value("document.getElementById('heat').click()")
    tab.until("document.getElementById('picture').src.endsWith('run-0000062?kind=plain')")
    assert tab.value("document.getElementById('picture').alt") == "Picture of part 62"


def test_a_reject_is_opened_and_closed_by_keys_alone(bench: Bench, tab: Browser) -> None:
    some_parts(bench)
    seen(bench, tab)
    tab.until("document.querySelectorAll('#bad button').length === 2")
    for _ in range(30):
        tab.key("Tab", 9)
        if tab.value("document.activeElement.closest('#bad') !== null"):
            break
    assert tab.value("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    tab.key("Enter", 13)
    tab.until("document.getElementById('part').open")
    assert tab.text("#part-title") == "Part 62: REJECT"
    tab.until("document.getElementById('part-picture').naturalWidth > 0")
    bench.board.put(shown_part(63, "reject"))  # the strip changes under an open dialog
    tab.until("document.querySelectorAll('#bad button').length === 3")
    tab.key("Escape", 27)
    tab.until("!document.getElementById('part').open")
    assert tab.value("document.activeElement.closest('#bad') !== null")
    assert "Part 62" in tab.value("document.activeElement.innerText")


def test_what_can_be_changed_needs_name_and_token(bench: Bench, tab: Browser) -> None:
    some_parts(bench)
    seen(bench, tab)

    def press(button: str, answer: str) -> None:
        tab.value("document.getElementById('said').textContent = ''")
        tab.value(f"document.getElementById({json.dumps(button)}).click()")
        tab.until(f"document.getElementById('said').textContent.startsWith({json.dumps(answer)})")

    press("pause", "Enter your name")
    assert bench.asked == []
    tab.value("document.getElementById('operator').value = 'Ann'")
    tab.value("document.getElementById('token').value = 'wrong'")
    press("pause", "The token is wrong.")
    tab.complaints.clear()  # the browser tells of a 401
    assert bench.asked == []
    tab.value(f"document.getElementById('token').value = {json.dumps(TOKEN)}")
    press("pause", "Done.")
    tab.until("document.getElementById('state').className === 'state paused'")
    tab.until("!document.getElementById('resume').hidden")
    press("resume", "Done.")
    tab.until("document.getElementById('state').className === 'state good'")
    tab.value("document.getElementById('recipe').value = 'cap-red'")
    time.sleep(1.5)
    assert tab.value("document.getElementById('recipe').value") == "cap-red", "a choice is not taken back"
    press("change", "Done.")
    press("rollback", "Refused: there is no recipe before, Ann")
    tab.complaints.clear()  # and of a 409
    tab.until("document.getElementById('new-bad-text').textContent === '2 not yet acknowledged'")
    press("acknowledge", "Done.")
    tab.until("document.getElementById('new-bad').hidden")
    assert bench.asked == [("paused", "Ann"), ("running", "Ann"), ("recipe", "cap-red", "Ann")]
    stored = tab.value("JSON.stringify(localStorage) + document.cookie")
    assert TOKEN not in stored


def test_a_station_that_is_gone_is_not_shown_as_ready(bench: Bench, tab: Browser) -> None:
    seen(bench, tab)
    tab.until("document.getElementById('state').className === 'state good'")
    network = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    tab.ask("Network.emulateNetworkConditions", offline=True, **network)
    try:
        tab.until("document.getElementById('state').className === 'state bad'")
        assert "does not answer" in tab.text("#state")
    finally:
        tab.ask("Network.emulateNetworkConditions", offline=False, **network)
    tab.until("document.getElementById('state').className === 'state good'")
    tab.complaints.clear()  # the browser tells of every request that failed


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_dark_when_wanted(bench: Bench, tab: Browser, scheme: str) -> None:
    seen(bench, tab)
    tab.value(
        f"(() => {{ const theme = document.getElementById('theme'); theme.value = '{scheme}';"
        " theme.dispatchEvent(new Event('change')); })()"
    )
    paper = tab.value("getComputedStyle(document.body).backgroundColor")
    level = np.mean([int(value) for value in paper[4:-1].split(",")])
    assert (level < 60) == (scheme == "dark")
    seen(bench, tab)
    assert tab.value("document.documentElement.dataset.theme") == scheme, "it is remembered"
    tab.value("localStorage.clear()")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("opened", [False, True], ids=["page", "dialog"])
def test_a_screen_reader_finds_its_way(bench: Bench, tab: Browser, scheme: str, *, opened: bool) -> None:
    """axe-core: names, roles, labels, landmarks, contrast (WCAG 2.1 AA and best practices)."""
    axe = importlib.resources.files("axe_core_python").joinpath("axe.min.js").read_text(encoding="utf-8")
    some_parts(bench)
    seen(bench, tab)
    tab.value(f"localStorage.setItem('ast-edge-theme', '{scheme}')")
    seen(bench, tab)
    tab.until("document.getElementById('picture').naturalWidth > 0")
    tab.until("document.getAnimations().length === 0")
    if opened:
        tab.value("document.querySelector('#bad button').click()")
        tab.until("document.getElementById('part').open")
    tab.value(axe + "; true")
    found = tab.value("axe.run(document).then(found => JSON.stringify(found))")
    result = json.loads(found)
    assert len(result["passes"]) > 20
    wrong = [(rule["id"], [node["html"][:200] for node in rule["nodes"]]) for rule in result["violations"]]
    assert wrong == []
    tab.value("localStorage.clear()")


def test_charts_say_in_words_what_they_show(bench: Bench, tab: Browser) -> None:
    some_parts(bench)
    seen(bench, tab)
    assert tab.text("#scores-text").startswith("62 parts, 1 above the threshold of 0.3333.")
    assert "1.6% rejected, 1.6% faults of 62 parts" in tab.text("#rates-text").replace("\u00a0", " ")
    assert tab.value("document.querySelectorAll('#scores circle').length") == 60
    assert tab.value("document.querySelectorAll('#scores rect.dot-reject').length") == 1
    assert tab.value("document.querySelectorAll('#scores .threshold').length") == 1
    assert tab.value("document.querySelectorAll('#scores .bar').length") == 24
    assert tab.value("document.getElementById('scores').getAttribute('aria-labelledby')") == "scores-text"
