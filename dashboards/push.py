"""Marks on Grafana's time axis: drift, retrains and swaps as annotations; the only use of grafana_api.

Rules:
1. A mark never stops or slows a monitor. `mark` puts it on a bounded queue and returns; a thread sends it. Failures are
   counted, logged once a minute at most, and never raised.
2. Without a token nothing is sent and no thread is started.
3. An event has one annotation. Its id is a tag, and the thread searches for it before it writes. So a replay of the log
   repeats nothing, and a later mark of the same id (an incident that is resolved) moves the end of the annotation.
4. No log line contains the token: a failure is logged as the kind of error and the address.

The library has three traps. A patch without tags or text erases them, so both are always sent. A search by type raises
TypeError, so the search is by tag alone. Tags are not quoted in the address, so they are quoted here.
"""

from __future__ import annotations

import hashlib
import logging
import queue
import threading
import time
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import quote, urlsplit

from grafana_api.grafana_face import GrafanaFace  # type: ignore[import-untyped]  # the library ships no types

from streams.metrics import Metrics
from streams.patience import LogLimit

_log = logging.getLogger(__name__)

_QUEUE = 1_000
_TIMEOUT_SECONDS = 5.0
_COUNTER = "driftline_annotations_total"


class Token(Protocol):
    """A service-account token that no print shows: streams.settings.Secret."""

    def reveal(self) -> bytes:
        """Return the token itself."""
        ...


@dataclass(frozen=True, slots=True)
class Annotation:
    """One annotation; times are epoch milliseconds, `end` is None for a point in time."""

    text: str
    tags: tuple[str, ...]
    identity: str
    start: int
    end: int | None


def _face(url: str, token: Token) -> GrafanaFace:
    parts = urlsplit(url if "//" in url else f"http://{url}")
    path = parts.path.strip("/")
    return GrafanaFace(
        auth=token.reveal().decode().strip(),
        host=parts.hostname or "localhost",
        port=parts.port,
        url_path_prefix=f"{path}/" if path else "",
        protocol=parts.scheme or "http",
        timeout=_TIMEOUT_SECONDS,
    )


class Annotations:
    """Grafana's annotations behind one verb, `mark`; off without a token."""

    def __init__(self, url: str, token: Token, *, metrics: Metrics | None = None) -> None:
        """Connect lazily; `url` is Grafana's address, with its path behind a proxy."""
        self.enabled = bool(url) and bool(token.reveal().strip())
        #: Result -> number of marks; the same numbers are in driftline_annotations_total.
        self.counts = {"ok": 0, "failed": 0, "dropped": 0}
        self._address = urlsplit(url)._replace(query="", fragment="").geturl().rpartition("@")[2]
        self._metrics = metrics
        self._marks: queue.Queue[Annotation] = queue.Queue(_QUEUE)
        self._limit = LogLimit()
        self._unlogged = 0
        self._lock = threading.Lock()
        self._face: Any = _face(url, token) if self.enabled else None
        self._thread: threading.Thread | None = None

    def mark(
        self,
        kind: str,
        text: str,
        tags: tuple[str, ...] | list[str],
        time_seconds: float,
        end_seconds: float | None = None,
        *,
        identity: str = "",
    ) -> None:
        """Ask for one annotation; returns at once and never raises.

        Args:
            kind: `drift`, `retrain` or `swap`: the dashboard has a colour for each.
            text: shown when a person points at the mark.
            tags: more tags, such as the model's name.
            time_seconds: when it began, epoch seconds.
            end_seconds: when it ended; None for a point in time.
            identity: id of the event; empty takes a hash of kind, text, tags and time.
        """
        if not self.enabled:
            return
        end = None if end_seconds is None else round(end_seconds * 1000)
        cause = repr((kind, text, tuple(tags), time_seconds)).encode()
        identity = identity or hashlib.blake2b(cause, digest_size=8).hexdigest()
        wanted = ("driftline", kind, *tags, f"id:{identity}")
        try:
            self._marks.put_nowait(Annotation(text, tuple(dict.fromkeys(wanted)), identity, round(time_seconds * 1000), end))
        except queue.Full:
            self._count("dropped")
            self._complain("the queue is full")
            return
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="grafana-annotations", daemon=True)
                self._thread.start()

    def close(self, timeout_seconds: float = _TIMEOUT_SECONDS) -> bool:
        """Wait until every mark was tried, `timeout_seconds` at most; return whether all were."""
        deadline = time.monotonic() + timeout_seconds
        with self._marks.all_tasks_done:
            while self._marks.unfinished_tasks:
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                self._marks.all_tasks_done.wait(left)
        return True

    def _run(self) -> None:
        while True:
            mark = self._marks.get()
            try:
                self._send(mark)
            except Exception as error:  # noqa: BLE001  # no error of the library or of Grafana may end the thread
                self._count("failed")
                self._complain(f"{type(error).__name__} {getattr(error, 'status_code', '')}".strip())
            else:
                self._count("ok")
            finally:
                self._marks.task_done()

    def _send(self, mark: Annotation) -> None:
        api = self._face.annotations
        written = api.get_annotation(tags=[quote(f"id:{mark.identity}", safe="")], limit=1)
        body = {"time_from": mark.start, "time_to": mark.end or mark.start, "tags": list(mark.tags), "text": mark.text}
        if not written:
            api.add_annotation(**body)
        elif _differs(written[0], mark):
            api.partial_update_annotation(written[0]["id"], **body)

    def _count(self, result: str) -> None:
        self.counts[result] += 1
        if self._metrics is not None:
            self._metrics.count(_COUNTER, result=result)

    def _complain(self, reason: str) -> None:
        with self._lock:
            self._unlogged += 1
            if not self._limit.due():
                return
            number, self._unlogged = self._unlogged, 0
        _log.warning(
            "Grafana at %s: %d annotation(s) not written (%s); check [grafana] url and token_file", self._address, number, reason
        )


def _differs(written: dict[str, Any], mark: Annotation) -> bool:
    end = mark.end or mark.start
    return (
        written.get("text") != mark.text
        or set(written.get("tags") or ()) != set(mark.tags)
        or written.get("time") != mark.start
        or (written.get("timeEnd") or mark.start) != end
    )
