"""Retrain requests: one drift asks once, and asks again only when it was not helped."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.identity import identity
from detectors.incidents.incident import Incident
from detectors.incidents.retrain import Request, Retrains
from detectors.judging.verdict import Verdict
from detectors.windows.row import ERROR

pytestmark = pytest.mark.fast

COOLDOWN = 3600.0


def incident(name: str, *, began: float, features: tuple[str, ...] = ("x",), segment: str = "") -> Incident:
    """Return an open incident."""
    drifted = {feature: Verdict(feature, "location", began, began + 60, 5.0, "moved") for feature in features}
    return Incident(name, segment, began, began + 60, drifted, "warning")


def retrains(cooldown: float = COOLDOWN) -> Retrains:
    """Return what a model that never asked has asked for."""
    return Retrains("m", cooldown, enabled=True)


def test_one_drift_asks_once() -> None:
    """While its request is on its way an incident asks for nothing more, however many windows it lasts."""
    asked = retrains()
    found = [asked.consider([incident("i", began=100.0)], at) for at in range(200, 20_000, 60)]
    request = found[0]
    assert request is not None
    assert (request.reason, request.began_at, request.requested_at, request.features) == ("drift", 100.0, 200, ["x"])
    assert request.alert == identity("alert", "i", 0, "opened")
    assert found[1:] == [None] * (len(found) - 1)


def test_without_incidents_nothing_is_asked() -> None:
    """Time alone is no reason."""
    assert [retrains().consider([], at) for at in (0.0, 1e9)] == [None, None]


def test_a_model_that_is_not_retrained_asks_for_nothing() -> None:
    """Retraining that is switched off stays off."""
    assert Retrains("m", COOLDOWN, enabled=False).consider([incident("i", began=100.0)], 200.0) is None


def test_between_two_requests_lies_the_cooldown() -> None:
    """An incident that opens right after an answered one waits for the end of the cool-down, then asks."""
    asked = retrains()
    first = asked.consider([incident("i", began=100.0)], 200.0)
    assert first is not None
    asked.answered(first.id)
    assert asked.outstanding is None
    other = [incident("j", began=300.0)]
    assert asked.consider(other, 200.0 + COOLDOWN - 1) is None
    second = asked.consider(other, 200.0 + COOLDOWN)
    assert second is not None
    assert second.incidents == ["j"]


def test_what_was_rejected_asks_again_after_the_cooldown() -> None:
    """The incident is still open, with more rows to learn from: another request, with another id."""
    asked = retrains()
    first = asked.consider([incident("i", began=100.0)], 200.0)
    assert first is not None
    asked.answered(first.id)
    found = [asked.consider([incident("i", began=100.0)], at) for at in range(260, 260 + 2 * int(COOLDOWN), 60)]
    (second,) = [request for request in found if request is not None]
    assert second.requested_at == 200.0 + COOLDOWN
    assert second.id != first.id
    assert second.began_at == first.began_at


def test_a_lost_request_is_asked_again_in_the_end() -> None:
    """Unanswered for eight cool-downs, and a day at least: it is asked once more, even where the cool-down is nothing."""
    asked = retrains()
    times = [at for at in range(200, 400_000, 600) if asked.consider([incident("i", began=100.0)], at)]
    assert times[:2] == [200, 200 + 86_400]
    impatient = retrains(cooldown=0.0)
    assert [at for at in range(200, 80_000, 60) if impatient.consider([incident("i", began=100.0)], at)] == [200]
    slow = retrains(cooldown=86_400.0)
    assert [at for at in range(0, 10 * 86_400, 3600) if slow.consider([incident("i", began=0.0)], at)] == [0, 8 * 86_400]


def test_several_incidents_are_one_request_from_the_newest_begin() -> None:
    """What came before the newest change is not today's world; all features are named once."""
    found = retrains().consider(
        [
            incident("i", began=100.0, features=("x", "y")),
            incident("j", began=5000.0, features=("z", "x"), segment="eu"),
            incident("k", began=300.0, features=(ERROR,)),
        ],
        6000.0,
    )
    assert found is not None
    assert (found.began_at, found.segment, found.incidents) == (5000.0, "eu", ["i", "j", "k"])
    assert found.features == sorted({"x", "y", "z", ERROR})
    assert found.reason == "drift"


def test_errors_are_a_reason_of_their_own() -> None:
    """When the newest change is one of errors, the reason is performance."""
    found = retrains().consider([incident("k", began=300.0, features=(ERROR,))], 6000.0)
    assert found is not None
    assert found.reason == "performance"


def test_only_the_request_on_its_way_can_be_answered() -> None:
    """An answer to another request, or a second answer, changes nothing."""
    asked = retrains()
    request = asked.consider([incident("i", began=100.0)], 200.0)
    assert request is not None
    asked.answered("retrain-of-somebody-else")
    assert asked.outstanding is request
    asked.answered(request.id)
    asked.answered(request.id)
    assert asked.outstanding is None


@given(st.lists(st.tuples(st.integers(0, 4000), st.booleans(), st.integers(0, 3)), max_size=80))
def test_requests_are_never_closer_than_the_cooldown(story: list[tuple[int, bool, int]]) -> None:
    """Whatever opens, closes and is answered: cool-down between requests, ids unique, the newest begin."""
    asked, now, found = retrains(), 0.0, list[Request]()
    for step, answer, count in story:
        now += step
        open_now = [incident(f"i{index}", began=now - 100.0 * index) for index in range(count)]
        request = asked.consider(open_now, now)
        if request is not None:
            found.append(request)
            assert request.began_at == now
        if answer and asked.outstanding is not None:
            asked.answered(asked.outstanding.id)
    times = [request.requested_at for request in found]
    assert all(later - earlier >= COOLDOWN for earlier, later in pairwise(times))
    assert len({request.id for request in found}) == len(found)
