"""The gate: a candidate passes only with evidence that it is better than the champion.

Both answer the same held-out rows. Only rows on which their losses differ count. If the candidate were
no better, it would win each of those with a chance of one half. The exact one-sided sign test (McNemar's
test, when losses are 0 and 1) gives the chance `p` of at least that many wins by luck; `p <= max_error`
promotes. So a candidate that is just as good is promoted with a chance of at most `max_error`.

    >>> decision = decide([0, 0, 0, 0, 0, 0, 1, 0], [1, 1, 1, 1, 1, 1, 1, 0], max_error=0.05)
    >>> decision.promote, decision.p_value
    (True, 0.015625)
    >>> decision.reason
    'candidate right on 6 of 6 rows where they differ, p = 0.016 <= 0.05'

Method: McNemar, Psychometrika 12 (1947); the exact binomial form, without a normal approximation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class GateDecision:
    """The decision of the gate; losses are means over `rows` held-out rows (inf: a row got no answer)."""

    promote: bool
    reason: str
    p_value: float
    rows: int
    #: Rows on which the candidate lost less, and rows on which the champion did.
    wins: int
    losses: int
    candidate_loss: float
    champion_loss: float


def decide(
    candidate: Sequence[float],
    champion: Sequence[float],
    *,
    max_error: float,
    verb: str = "right",
    against: str = "",
) -> GateDecision:
    """Return the decision for per-row losses of both models on the same rows.

    Args:
        candidate: loss of the candidate on each held-out row (0 or 1, or an absolute error).
        champion: loss of the champion on the same rows, in the same order.
        max_error: largest accepted chance of promoting a candidate that is not better.
        verb: how the reason says that a loss is smaller: `right` or `nearer`.
        against: appended to the reason when the opponent is not the champion.

    Raises:
        ValueError: the sequences differ in length, or a loss is negative or not a number.
    """
    if len(candidate) != len(champion):
        raise ValueError(f"expected losses on the same rows, got {len(candidate)} and {len(champion)}")
    if not all(loss >= 0 for loss in (*candidate, *champion)):
        raise ValueError("expected losses of 0 or more, got a negative one or NaN")
    wins = sum(new < old for new, old in zip(candidate, champion, strict=True))
    losses = sum(new > old for new, old in zip(candidate, champion, strict=True))
    p_value = sign_test(wins, losses)
    means = _mean(candidate), _mean(champion)
    # A candidate that is nearer on most rows and worse on average (a few huge errors) is no improvement.
    # With losses of 0 and 1 more wins always mean a smaller mean, so there this condition adds nothing.
    promote = p_value <= max_error and means[0] <= means[1] and math.isfinite(means[0])
    return GateDecision(
        promote=promote,
        reason=_words(wins, losses, p_value, max_error=max_error, means=means, verb=verb) + against,
        p_value=p_value,
        rows=len(candidate),
        wins=wins,
        losses=losses,
        candidate_loss=means[0],
        champion_loss=means[1],
    )


def sign_test(wins: int, losses: int) -> float:
    """Return the chance of at least `wins` heads in `wins + losses` throws of a fair coin.

    >>> sign_test(3, 1)
    0.3125
    """
    throws = wins + losses
    ways = tail = math.comb(throws, wins)
    for heads in range(wins, throws):
        ways = ways * (throws - heads) // (heads + 1)
        tail += ways
    return tail / (1 << throws)


def _mean(losses: Sequence[float]) -> float:
    return math.fsum(losses) / len(losses) if losses else 0.0


def _words(wins: int, losses: int, p_value: float, *, max_error: float, means: tuple[float, float], verb: str) -> str:
    if wins + losses == 0:
        return "candidate and champion lose the same on every held-out row"
    counted = f"candidate {verb} on {wins} of {wins + losses} rows where they differ, p = {p_value:.2g}"
    if p_value > max_error:
        return f"{counted} > {max_error:g}"
    if not math.isfinite(means[0]):
        return f"{counted} <= {max_error:g}, but it gave no answer on some rows"
    if means[0] > means[1]:
        return f"{counted} <= {max_error:g}, but its mean loss is larger ({means[0]:.4g} against {means[1]:.4g})"
    return f"{counted} <= {max_error:g}"
