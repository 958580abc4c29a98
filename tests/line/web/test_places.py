"""Places for connections: no address can exclude another one, this machine or a client with the token."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ast_edge.line.web.places import (
    KEPT_FOR_THIS_MACHINE,
    KEPT_FOR_TOKENS,
    MOST_CONNECTIONS,
    MOST_OF_ONE,
    Places,
    site_of,
)


class Connection:
    """A connection that remembers whether it was cut; `places` hears of it as asyncio would tell it."""

    def __init__(self, places: Places, address: str) -> None:
        self.places = places
        self.is_cut = False
        self.entered = places.enter(self, address)

    def cut(self) -> None:
        self.is_cut = True
        self.places.leave(self)


@pytest.mark.parametrize(
    ("address", "site"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::1"),
        ("", ""),
    ],
)
def test_what_counts_as_one_address(address: str, site: str) -> None:
    assert site_of(address) == site


def test_two_addresses_that_take_everything_keep_neither_a_third_nor_this_machine_out() -> None:
    places = Places()
    first = [Connection(places, "192.0.2.1") for _ in range(MOST_OF_ONE + 5)]
    second = [Connection(places, "192.0.2.2") for _ in range(MOST_OF_ONE + 5)]
    assert sum(each.entered for each in first + second) == MOST_CONNECTIONS
    assert places.turned_away == 10
    third = [Connection(places, "192.0.2.3") for _ in range(3)]
    assert all(each.entered for each in third)
    assert first[0].is_cut
    assert second[0].is_cut, "the two that hold most lose in turn"
    assert places.displaced == 3
    here = [Connection(places, address) for address in ("127.0.0.1", "::1", "::ffff:127.0.0.1")]
    assert all(each.entered and not each.is_cut for each in here)


def test_a_token_takes_a_connection_out_of_the_common_places() -> None:
    places = Places()
    plc = Connection(places, "192.0.2.9")
    places.trust(plc)
    places.trust(plc)
    others = [Connection(places, f"192.0.2.{number}") for number in range(100, 100 + MOST_CONNECTIONS)]
    assert all(each.entered for each in others)
    assert not Connection(places, "192.0.2.8").entered
    assert not plc.is_cut
    more = others[: KEPT_FOR_TOKENS + 3]
    for each in more:
        places.trust(each)
    assert places.taken == 1 + MOST_CONNECTIONS
    assert Connection(places, "192.0.2.8").entered


def test_this_machine_has_its_reserve_and_the_common_places() -> None:
    places = Places()
    own = [Connection(places, "127.0.0.1") for _ in range(40)]
    assert sum(each.entered for each in own) == KEPT_FOR_THIS_MACHINE + MOST_OF_ONE
    places.clear()
    assert places.taken == 0
    assert all(each.is_cut for each in own if each.entered)


STEP = st.tuples(st.sampled_from(["enter", "leave", "trust"]), st.integers(0, 5), st.integers(0, 60))


@given(st.lists(STEP, max_size=200))
def test_whatever_happens_the_bounds_hold(steps: list[tuple[str, int, int]]) -> None:
    places = Places()
    seen: list[Connection] = []
    most = MOST_CONNECTIONS + KEPT_FOR_TOKENS + KEPT_FOR_THIS_MACHINE
    for what, host, which in steps:
        if what == "enter":
            seen.append(Connection(places, "127.0.0.1" if host == 0 else f"192.0.2.{host}"))
        elif seen:
            getattr(places, what)(seen[which % len(seen)])
        assert places.taken <= most
    for each in seen:
        places.leave(each)
    assert places.taken == 0
