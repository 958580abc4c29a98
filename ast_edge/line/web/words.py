"""Descriptions of faults for operators, and the languages of the page.

The message catalogue is `locale/<language>/LC_MESSAGES/page.po`; gettext reads the compiled `page.mo` beside
it. Both are maintained by `python -m tests.line.web.catalogue`.
"""

from __future__ import annotations

import gettext
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

LOCALE = Path(__file__).with_name("locale")
DOMAIN = "page"
# Each language by its own name.
LANGUAGES = {"en": "English", "de": "Deutsch", "ja": "日本語", "zh": "中文"}

# By the number in `ast_edge.line.outputs.reasons`: what happened, and what to do.
FAULTS: dict[int, tuple[str, str]] = {
    1: (
        "A part went by unseen.",
        "Inspect this part by hand. If it happens again, check the trigger sensor and its cable.",
    ),
    2: (
        "The verdict came too late.",
        "Inspect this part by hand. If it happens again, slow the line down and call maintenance.",
    ),
    3: (
        "Parts come faster than they can be inspected.",
        "Slow the line down. Inspect this part by hand.",
    ),
    4: (
        "There is no picture of this part.",
        "Inspect this part by hand. Check that the camera has power and that its cable is plugged in.",
    ),
    5: (
        "A picture was lost on the way from the camera.",
        "Inspect this part by hand. If it happens again, check the camera's cable.",
    ),
    6: (
        "The camera shows the same picture again.",
        "Inspect this part by hand. Switch the camera off and on; if it happens again, call maintenance.",
    ),
    7: (
        "The picture is too dark, too bright, blurred, or does not show a part.",
        "Check the lamp, the lens and the part's position. Clean the lens if it is dirty.",
    ),
    8: ("The model gave no valid score.", "Inspect this part by hand and call maintenance."),
    9: ("The inspection failed.", "Inspect this part by hand and call maintenance."),
    10: ("The station was stopping.", "Inspect this part by hand."),
    11: (
        "The camera does not work.",
        "Check that the camera has power and that its cable is plugged in; then call maintenance.",
    ),
    12: (
        "The station was paused.",
        "Inspect this part by hand. Resume the inspection when the line is ready.",
    ),
    99: ("The part could not be judged.", "Inspect this part by hand and call maintenance."),
}


def choose(wanted: str | None, accepted: str) -> str:
    """Return `wanted` if known, else the best known language of an Accept-Language header, else en."""
    if wanted in LANGUAGES:
        return wanted
    weighed: list[tuple[float, str]] = []
    for item in accepted.split(",")[:20]:
        tag, _, parameter = item.strip().partition(";")
        language = tag.strip().lower().partition("-")[0]
        if language in LANGUAGES:
            weighed.append((_quality(parameter), language))
    best = max(weighed, key=lambda pair: pair[0], default=(0.0, "en"))  # the first of equals
    return best[1] if best[0] > 0 else "en"


def _quality(parameter: str) -> float:
    name, _, value = parameter.strip().partition("=")
    if name.strip() != "q":
        return 1.0
    try:
        return min(max(float(value), 0.0), 1.0)
    except ValueError:
        return 0.0


@lru_cache(maxsize=len(LANGUAGES))
def translation(language: str) -> gettext.NullTranslations:
    """Return the catalogue of one of `LANGUAGES`; English needs none."""
    if language == "en":
        return gettext.NullTranslations()
    return gettext.translation(DOMAIN, LOCALE, [language])


def translated(messages: Iterable[str], language: str) -> dict[str, str]:
    """Return each message with its translation."""
    found = translation(language)
    return {message: found.gettext(message) for message in messages}
