"""The predictions and labels of one model that wait in one partition: the state of the join.

Open `detectors/pairing/pairing.py` for what is done with them.
"""

from __future__ import annotations

import numpy as np

from detectors.arrays import Integers
from detectors.pairing.bounds import EXTRA_BYTES, LOOK_EVERY, ROW_BYTES, SHORT_TEXT, TEXT_BYTES, Bounds, limit
from detectors.pairing.columns import LABEL, PAIR, PREDICTION, Columns, Extras, What
from detectors.pairing.table import RowTable
from detectors.pairing.taken import Noted, Pairing
from detectors.pairing.values import Boxes, Words, word_codes

#: So many words are never looked through.
_FEW_WORDS = 1 << 16


class ModelPairs:
    """What waits."""

    __slots__ = (
        "_kept_words",
        "bounds",
        "boxes",
        "clients",
        "early",
        "extras",
        "newest",
        "position",
        "waiting",
        "whats",
        "within",
    )

    def __init__(self, *, within: float, look_every: int = LOOK_EVERY, reserve: int = 0) -> None:
        """Begin with nothing; `within` in seconds, `reserve` rows have room beforehand."""
        self.within = within
        self.bounds = Bounds(within, look_every)
        self.waiting = RowTable(PREDICTION, reserve=reserve)
        self.early = RowTable(LABEL, reserve=reserve // 4)
        self.extras: Extras = {}
        #: Newest event time of a prediction or label.
        self.newest = 0.0
        #: Records below this offset were taken.
        self.position = 0
        #: What the numbers in `answer` and `truth` stand for; in `what` of predictions; in `what` of labels.
        self.boxes = Boxes()
        self.whats: Words[What] = Words()
        self.clients: Words[str | None] = Words()
        self._kept_words = _FEW_WORDS

    @property
    def nbytes(self) -> int:
        """Return the bytes of everything that waits; those besides the columns are estimated."""
        return self.waiting.nbytes + self.early.nbytes + 2 * EXTRA_BYTES * len(self.extras)

    @property
    def span(self) -> float:
        """Return the event time from the oldest look whose rows are kept to the newest event, in seconds."""
        return self.newest - self.bounds.looks[0].newest if self.bounds.looks else 0.0

    def find(self, rows: Columns) -> Integers:
        """Return the slots of predictions that wait, -1 where there is none; dead ones are given back."""
        return self._living(self.waiting, self.waiting.find(rows["key"], rows["check"]))

    def find_early(self, rows: Columns) -> Integers:
        """Return the slots of labels that wait, -1 where there is none; those that are dead stay, to be counted by a sweep."""
        slots = self.early.find(rows["key"], rows["check"])
        found = np.flatnonzero(slots >= 0)
        if len(found):
            held = self.early.rows[slots[found]]
            slots[found[~self.bounds.alive(held["key"], held["offset"])]] = -1
        return slots

    def _living(self, table: RowTable, slots: Integers) -> Integers:
        found = np.flatnonzero(slots >= 0)
        if len(found):
            held = slots[found]
            dead = ~self.bounds.alive(table.rows["key"][held], table.rows["offset"][held])
            if dead.any():
                self.forget(np.unique(held[dead]))
                slots[found[dead]] = -1
        return slots

    def forget(self, slots: Integers) -> None:
        """Give slots of predictions back."""
        self.waiting.release(slots)
        if self.extras:
            for slot in slots.tolist():
                self.extras.pop(slot, None)

    def keep(self, slots: Integers, added: Columns, extras: Extras, noted: Noted) -> None:
        """Note predictions that were added, with what else is kept of them."""
        sizes = self._sizes(added)
        if extras:
            sizes = np.full(len(added), ROW_BYTES) if sizes is None else sizes
            for place, (slot, offset) in enumerate(zip(slots.tolist(), added["offset"].tolist(), strict=True)):
                extra = extras.get(offset)
                if extra is not None:
                    self.extras[slot] = extra
                    sizes[place] += EXTRA_BYTES + len(extra)
        self.bounds.add(added["key"], added["offset"], sizes)
        noted.added(added)

    def _sizes(self, added: Columns) -> Integers | None:
        """Return the bytes of predictions, with their long texts as if each were the only one that has it; None without any."""
        answers, whats = self.boxes.words.longest > SHORT_TEXT, self.whats.longest > SHORT_TEXT
        if not (answers or whats) or not len(added):
            return None
        sizes = np.full(len(added), ROW_BYTES)
        if answers:
            texts = self.boxes.sizes(added["answer"])
            sizes += np.where(texts > SHORT_TEXT, texts + TEXT_BYTES, 0)
        if whats:
            texts = self.whats.sizes(added["what"].astype(np.int64))
            sizes += np.where(texts > SHORT_TEXT, texts + TEXT_BYTES, 0)
        return sizes

    def begin_to_wait(self, labels: Columns, noted: Noted) -> None:
        """Let labels of different ids wait; no living one of these ids does."""
        if self.early.count:
            slots = self.early.find(labels["key"], labels["check"])
            slots = np.unique(slots[slots >= 0])
            noted.count(Pairing.FOREIGN, int((self.early.rows["offset"][slots] < self.bounds.floor).sum()))
            self.early.release(slots)
        self.early.add(labels)
        self.bounds.add(labels["key"], labels["offset"])

    def replace_waiting(self, slots: Integers, labels: Columns) -> None:
        """Let labels wait in the place of others of their ids.

        An id counts once in each block of offsets: a label counts unless the one before is of the same block.
        """
        every = self.bounds.every
        later = self.early.rows["offset"][slots] // every < labels["offset"] // every
        self.early.rows[slots] = labels
        self.bounds.add(labels["key"][later], labels["offset"][later])

    def forget_words(self) -> None:
        """Forget words that nothing here refers to any more, once there are many new ones."""
        if len(self.boxes.words) + len(self.whats) + len(self.clients) <= 2 * self._kept_words:
            return
        waiting, early = self.waiting.rows[self.waiting.taken()], self.early.rows[self.early.taken()]
        self.boxes.words.keep(word_codes(np.concatenate([waiting["answer"], waiting["truth"], early["truth"]])))
        self.whats.keep(np.unique(waiting["what"]).astype(np.int64))
        self.clients.keep(np.unique(early["what"]).astype(np.int64))
        self._kept_words = max(_FEW_WORDS, len(self.boxes.words) + len(self.whats) + len(self.clients))

    def sweep(self, noted: Noted, added: int) -> None:
        """Give back some of what is dead."""
        slots = self.waiting.next_swept(added)
        if len(slots):
            dead = ~self.bounds.alive(self.waiting.rows["key"][slots], self.waiting.rows["offset"][slots])
            self.forget(slots[dead])
        slots = self.early.next_swept(added)
        if len(slots):
            labels = self.early.rows[slots]
            dead = ~self.bounds.alive(labels["key"], labels["offset"])
            expired = labels[dead & (labels["offset"] < self.bounds.floor)]
            if len(expired):
                # Its prediction may have been dropped by a level that has fallen since.
                out = expired["key"] >= limit(max(change.level for change in self.bounds.levels))
                noted.count(Pairing.SAMPLED_OUT, int(out.sum()))
                noted.foreign(expired[~out])
            self.early.release(slots[dead])


def pairs_of(held: Columns, labels: Columns, was: np.ndarray, sources: np.ndarray) -> Columns:
    """Return predictions and their labels as pairs."""
    pairs = np.zeros(len(held), PAIR)
    for name in ("key", "check", "what", "offset", "ts", "score", "answer"):
        pairs[name] = held[name]
    pairs["truth"], pairs["label_ts"], pairs["label_what"] = labels["truth"], labels["ts"], labels["what"]
    pairs["was"], pairs["source"] = was, sources
    return pairs
