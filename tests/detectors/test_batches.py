"""Many windows at once: what each says is what it says alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.learning.learner import Learner
from detectors.learning.recording import Recording
from detectors.measure.batches import Held, WindowBatches
from detectors.measure.measure import measure
from detectors.measure.sums import window_sums
from detectors.reference.feature_reference import learn_reference
from detectors.reference.learned import FeatureBaseline
from detectors.reference.matrix import ReferenceMatrix
from detectors.spec import ModelSpec, ReferenceSpec
from detectors.windows.feature import Feature
from tests.support.simulated import mixed, numbers, window

SPEC = ModelSpec("m", volume=False, window_seconds=60.0, reference=ReferenceSpec(seconds=600 * 60.0))
STRIDES = (1, 2, 4, 8)


def samples(rng: np.random.Generator, features: int, windows: int, sources: int) -> list[Held]:
    """Return windows of numbers, long samples, categories and both, some of which are not there."""
    found: list[Held] = []
    for _ in range(windows):
        parts: list[dict[str, Feature]] = []
        for _ in range(sources):
            (short,) = numbers(rng.normal(size=(1, int(rng.integers(1, 30)))))
            (long,) = numbers(rng.normal(size=(1, 100)))
            (city,) = mixed([rng.choice(["NO", "SE", "1/f0", "DK"], size=10).tolist()])
            (both,) = mixed([[1.5, "a", None, float(rng.normal()), str(rng.integers(9))]])
            kinds = [short, city, long, both]
            parts.append({f"f{number}": kinds[number % 4] for number in range(features) if rng.random() < 0.9})
        found.append((40 * sources, parts))
    return found


@settings(max_examples=25)
@given(st.integers(1, 9), st.integers(1, 60), st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_windows_that_go_together_say_what_each_says_alone(features: int, windows: int, sources: int, seed: int) -> None:
    """Sums to the last bit, and what is measured on them."""
    held = samples(np.random.default_rng(seed), features, windows, sources)
    names = [f"f{number}" for number in range(features)]
    matrix = ReferenceMatrix(
        {name: learn_reference([[part[name] for part in parts if name in part] for _, parts in held]) for name in names},
        outlier_beyond=1.0,
    )
    tiles = WindowBatches(matrix)
    together = list(tiles.window_sums(held))
    alone = [window_sums(parts, rows, matrix) for rows, parts in held]
    for one, other in zip(together, alone, strict=True):
        assert np.array_equal(one.sums, other.sums)
        assert np.array_equal(one.bins, other.bins)
        assert np.array_equal(one.cells, other.cells)
    for measured, sums in zip(tiles.measure(together), alone, strict=True):
        wanted = measure(sums, matrix)
        for name in ("value", "within", "count"):
            np.testing.assert_allclose(getattr(measured, name), getattr(wanted, name), rtol=1e-12, atol=1e-15)


def test_of_one_feature_a_thousand_windows_go_together_and_of_a_thousand_one() -> None:
    """What is held at a time is bounded: columns, and bytes of samples."""
    (sample,) = numbers(np.arange(64.0)[None])
    for features, most in ((1, 1024), (100, 10), (1000, 1), (3000, 1)):
        matrix = ReferenceMatrix({f"f{number}": learn_reference([[sample]]) for number in range(features)}, outlier_beyond=6.0)
        assert WindowBatches(matrix).most == most
    taken = 0

    def counted() -> Sequence[Held]:
        nonlocal taken
        for _ in range(500):
            taken += 1
            yield 64, [{"f0": sample}]

    matrix = ReferenceMatrix({"f0": learn_reference([[sample]])}, outlier_beyond=6.0)
    next(iter(WindowBatches(matrix).window_sums(counted())))
    assert taken * 512 == (1 << 16) + 512


def state(recording: Recording) -> list[object]:
    """Return all that a recording knows of windows."""
    return [
        (rollup_width, one.starts, one.values, one.counts, one.within.tolist(), one.spoken.tolist())
        for rollup_width, one in recording.histories.items()
    ]


@settings(max_examples=25)
@given(st.lists(st.sampled_from(STRIDES), min_size=1, max_size=6), st.integers(1, 80), st.integers(0, 2**32 - 1))
def test_a_recording_of_many_windows_at_once_is_that_of_each(rollup_widths: list[int], windows: int, seed: int) -> None:
    """Whatever widths and gaps: the same histories, and the same sums wait."""
    rng = np.random.default_rng(seed)
    held = samples(rng, len(rollup_widths), windows, 2)
    places = np.cumsum(rng.choice([1, 1, 1, 2, 7], size=windows)).tolist()
    references = {
        f"f{number}": learn_reference([[part[f"f{number}"] for part in held[0][1] if f"f{number}" in part]])
        for number in range(len(rollup_widths))
    }
    one, other = (
        Recording.begin(60.0, references, dict(zip(references, rollup_widths, strict=True)), outlier_beyond=6.0) for _ in range(2)
    )
    one.extend([(place * 60.0, *found) for place, found in zip(places, held, strict=True)])
    for place, (rows, parts) in zip(places, held, strict=True):
        other.add(place * 60.0, parts, rows)
    assert state(one) == state(other)
    assert one.rollup.groups.tolist() == other.rollup.groups.tolist()


def test_many_windows_at_once_are_thinned_as_one_by_one() -> None:
    """Where measures outgrow their bytes on the way, the same windows are kept."""
    names = [f"f{number}" for number in range(100)]
    recordings = [
        Recording.begin(60.0, dict.fromkeys(names, learn_reference([[]])), dict.fromkeys(names, 1), outlier_beyond=6.0)
        for _ in range(2)
    ]
    before = recordings[0].most_bytes // 400 - 40
    for recording in recordings:
        recording.add(0.0, [], 1)
        (history,) = recording.histories.values()
        history.starts = [60.0 * index for index in range(before)]
        history.values, history.counts = history.values * before, history.counts * before
    windows = [(60.0 * index, 1, []) for index in range(before, before + 90)]
    recordings[0].extend(windows)
    for start, rows, parts in windows:
        recordings[1].add(start, parts, rows)
    assert recordings[0].every == recordings[1].every == 2
    assert state(recordings[0]) == state(recordings[1])


@pytest.fixture(scope="module")
def together() -> dict[str, FeatureBaseline]:
    """What is learned of four features together."""
    learner = Learner(60.0)
    feed(learner)
    return learner.learn(SPEC)


def feed(learner: Learner) -> None:
    """Let a learner have ten hours."""
    for index, (rows, parts) in enumerate(samples(np.random.default_rng(7), 4, 600, 2)):
        learner.add(SPEC, index * 60.0, [window(SPEC, index * 60.0, part, rows=rows // 2) for part in parts])


@pytest.mark.parametrize("name", ["f0", "f1", "f2", "f3"])
def test_what_is_learned_of_a_feature_does_not_depend_on_the_others(name: str, together: dict[str, FeatureBaseline]) -> None:
    """Alone, as after a swap, and with others, as at first: the same reference, stride and baselines."""
    learner = Learner(60.0, [name])
    feed(learner)
    alone = learner.learn(SPEC)[name]
    assert alone.rollup_width == together[name].rollup_width
    assert alone.baselines.keys() == together[name].baselines.keys()
    for one, other in zip(alone.baselines.values(), together[name].baselines.values(), strict=True):
        assert one.season.parameters == pytest.approx(other.season.parameters, rel=1e-9)
        for figure in ("between", "within", "correlation", "spread", "windows", "last"):
            assert getattr(one, figure) == pytest.approx(getattr(other, figure), rel=1e-9, abs=1e-12)
    assert np.array_equal(alone.reference.quantiles, together[name].reference.quantiles)
    assert alone.reference.shares == together[name].reference.shares
