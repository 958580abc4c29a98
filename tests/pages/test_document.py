"""Data inside a page stays data."""

from __future__ import annotations

import json
import re

from hypothesis import given
from hypothesis import strategies as st

from ast_edge.pages.document import filled

TEMPLATE = "<style>/* style */</style><script>const data = {/* data */}; /* script */</script>"
MARKS = ["/* style */", "/* script */", "{/* data */}", "</script>", "<!--"]


@given(st.lists(st.text() | st.sampled_from(MARKS)))
def test_whatever_the_data_is_the_page_has_one_script_with_it(content: list[str]) -> None:
    page = filled(TEMPLATE, content, style="p {}", script="show(data)")
    head, tail = "<style>p {}</style><script>const data = ", "; show(data)</script>"
    assert page.startswith(head)
    assert page.endswith(tail)
    data = page[len(head) : -len(tail)]
    assert json.loads(data) == content
    assert not re.search("<", data)
