"""The generated dashboard, metric page and annotations: complete, stable, and polite to Grafana."""

from __future__ import annotations

import doctest
import json
import logging
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

import dashboards.build
import dashboards.panels
from dashboards.build import DASHBOARD, FILES, RULES, dashboard_text, main, metrics_page, rules_text, write
from dashboards.grafana import ANNOTATIONS, UID, dashboard
from dashboards.panels import ROWS, panel_id
from dashboards.push import Annotations
from streams.metrics import CATALOGUE, Metrics, MetricSpec
from streams.settings import Secret
from tests.support.paths import ROOT

pytestmark = pytest.mark.fast

#: The id that links to the panel of events have had since the first dashboard.
PINNED = 456141395
TOKEN = "glsa_a-token-that-no-log-may-show"


def drawn() -> list[dict[str, Any]]:
    """Return the panels that draw something."""
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def expressions_with(spec: MetricSpec) -> list[str]:
    """Return the expressions of all panels that draw a metric."""
    name = re.compile(rf"\b{spec.name}(_bucket)?\b")
    return [target["expr"] for panel in drawn() for target in panel["targets"] if name.search(target["expr"])]


@pytest.mark.parametrize("spec", [spec for spec in CATALOGUE if not spec.alias_of], ids=lambda spec: spec.name)
def test_every_metric_has_a_panel(spec):
    """Every metric of the catalogue is drawn, with its labels as legend and its models selectable."""
    expressions = expressions_with(spec)
    assert expressions
    if "model" in spec.labels:
        assert all('model=~"$model"' in expression for expression in expressions)


@pytest.mark.parametrize("spec", [spec for spec in CATALOGUE if spec.alias_of], ids=lambda spec: spec.name)
def test_an_old_name_is_documented_and_drawn_nowhere(spec):
    """A metric under its old name has a row in docs/metrics.md that names the new one, and no panel."""
    assert expressions_with(spec) == []
    assert f"| `{spec.name}` | {spec.kind} |" in metrics_page()
    assert spec.help == f"Old name of {spec.alias_of}; gone in the next version."


def test_rows_name_only_metrics_there_are():
    """A metric that was renamed in the catalogue cannot stay behind in a row of the dashboard."""
    assert {name for names in ROWS.values() for name in names} <= {spec.name for spec in CATALOGUE if not spec.alias_of}


def test_ids_are_stable_and_unique():
    """Panel ids come from metric names, collide nowhere, and links to a panel survive new metrics."""
    ids = [panel["id"] for panel in dashboard()["panels"]]
    assert len(ids) == len(set(ids))
    assert all(0 < number < 2**31 for number in ids)
    assert panel_id("driftline_events_total") == PINNED


def test_panels_do_not_overlap():
    """Every cell of Grafana's 24 columns belongs to one panel at most."""
    cells: set[tuple[int, int]] = set()
    for panel in dashboard()["panels"]:
        at = panel["gridPos"]
        taken = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not taken & cells
        assert at["x"] + at["w"] <= 24
        cells |= taken


def test_the_dashboard_fits_any_grafana():
    """The uid is fixed, the data source is a variable, and no panel names a source of one installation."""
    board = dashboard()
    assert board["uid"] == UID == "driftline"
    assert [variable["name"] for variable in board["templating"]["list"]] == ["datasource", "model"]
    assert {panel["datasource"]["uid"] for panel in drawn()} == {"${datasource}"}
    assert "id" not in board
    assert [(entry["name"].lower(), entry["target"]["tags"]) for entry in board["annotations"]["list"]] == [
        (kind, ["driftline", kind]) for kind in ANNOTATIONS
    ]


@pytest.mark.parametrize(
    ("path", "text"),
    [(FILES / DASHBOARD, dashboard_text), (FILES / RULES, rules_text), (ROOT / "docs" / "metrics.md", metrics_page)],
    ids=lambda value: getattr(value, "name", ""),
)
def test_committed_files_are_what_the_catalogue_gives(path, text):
    """What is committed and shipped is what the generator makes: run `python -m dashboards.build dashboards/files`."""
    assert path.read_text(encoding="utf-8") == text()


def test_the_metric_page_documents_every_metric():
    """docs/metrics.md has a row for each metric, with its meaning."""
    page = metrics_page()
    assert all(f"| `{spec.name}` | {spec.kind} |" in page and spec.help in page for spec in CATALOGUE)


def test_write_makes_the_directory_and_links_the_runbook(tmp_path):
    """`write` gives both files anywhere, and alerts link to the given runbook."""
    paths = write(tmp_path / "new" / "place", "https://wiki.example.org/driftline")
    assert [path.name for path in paths] == [DASHBOARD, RULES]
    assert json.loads(paths[0].read_text(encoding="utf-8")) == dashboard()
    assert "https://wiki.example.org/driftline#driftlinedrift" in paths[1].read_text(encoding="utf-8")


def test_build_says_how_it_is_used(tmp_path, capsys):
    """`python -m dashboards.build` without a directory exits 2 with its usage, with a directory it prints the files."""
    assert main([]) == 2
    assert "usage:" in capsys.readouterr().err
    assert main([str(tmp_path)]) == 0
    assert str(tmp_path / RULES) in capsys.readouterr().out


@pytest.mark.parametrize("module", [dashboards.build, dashboards.panels], ids=lambda module: module.__name__)
def test_examples_in_docstrings_hold(module):
    """The examples in the docstrings give what they show."""
    found = doctest.testmod(module)
    assert found.attempted > 0
    assert found.failed == 0


class Grafana(ThreadingHTTPServer):
    """A stand-in for Grafana's /api/annotations: the same requests, answers, statuses and erasures."""

    daemon_threads = True

    def __init__(self) -> None:
        """Listen on a free port of the loopback."""
        super().__init__(("127.0.0.1", 0), _Handler)
        self.stored: dict[int, dict[str, Any]] = {}
        self.requests: list[str] = []
        self.status = 200

    @property
    def url(self) -> str:
        """The address, with a path before the API as behind a reverse proxy."""
        return f"http://127.0.0.1:{self.server_port}/grafana"


class _Handler(BaseHTTPRequestHandler):
    server: Grafana

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _answer(self, status: int, body: object) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _refused(self) -> bool:
        self.server.requests.append(self.command)
        if self.server.status != 200:
            self._answer(self.server.status, {"message": "Grafana is not well"})
        elif self.headers["Authorization"] != f"Bearer {TOKEN}":
            self._answer(401, {"message": "Invalid API key"})
        elif not urlsplit(self.path).path.startswith("/grafana/api/annotations"):
            self._answer(404, {"message": "Not found"})
        else:
            return False
        return True

    def _body(self) -> dict[str, Any]:
        return json.loads(self.rfile.read(int(self.headers["Content-Length"])))

    def do_GET(self) -> None:
        """Find by tags: all of them must match."""
        if self._refused():
            return
        tags = set(parse_qs(urlsplit(self.path).query).get("tags", []))
        found = [entry for entry in self.server.stored.values() if tags <= set(entry["tags"])]
        self._answer(200, found)

    def do_POST(self) -> None:
        """Create; a missing end is the start."""
        body = self._body()
        if self._refused():
            return
        number = len(self.server.stored) + 1
        end = body["timeEnd"] or body["time"]
        self.server.stored[number] = {
            "id": number,
            "text": body["text"],
            "tags": body["tags"],
            "time": body["time"],
            "timeEnd": end,
        }
        self._answer(200, {"id": number, "message": "Annotation added"})

    def do_PATCH(self) -> None:
        """Change what is given; tags that are given empty are erased, as Grafana does."""
        body = self._body()
        if self._refused():
            return
        entry = self.server.stored[int(self.path.rsplit("/", 1)[1])]
        entry.update({key: value for key, value in body.items() if value is not None})
        self._answer(200, {"message": "Annotation patched"})


@pytest.fixture
def grafana(monkeypatch) -> Iterator[Grafana]:
    """A Grafana on the loopback, reached without any proxy."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = Grafana()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.slow
def test_a_mark_becomes_an_annotation(grafana):
    """A mark arrives in milliseconds, tagged so that the dashboard's own queries find it."""
    notes = Annotations(grafana.url, Secret(TOKEN.encode()))
    notes.mark("drift", "amount: mean up 0.8 sd", ["fraud"], 1_000.5, identity="a1")
    assert notes.close()
    assert notes.counts == {"ok": 1, "failed": 0, "dropped": 0}
    assert list(grafana.stored.values()) == [
        {
            "id": 1,
            "text": "amount: mean up 0.8 sd",
            "tags": ["driftline", "drift", "fraud", "id:a1"],
            "time": 1_000_500,
            "timeEnd": 1_000_500,
        }
    ]


@pytest.mark.slow
def test_the_same_occurrence_is_marked_once(grafana):
    """A replay of the log adds no second annotation, not even from a new process."""
    for _ in range(2):
        notes = Annotations(grafana.url, Secret(TOKEN.encode()))
        for _ in range(2):
            notes.mark("swap", "version 7", ["fraud"], 1_000.0, identity="s7")
            notes.mark("swap", "version 8", ["fraud"], 2_000.0)
        assert notes.close()
    assert [entry["text"] for entry in grafana.stored.values()] == ["version 7", "version 8"]
    assert "PATCH" not in grafana.requests


@pytest.mark.slow
def test_an_incident_that_ends_moves_the_end_of_its_mark(grafana):
    """A later mark of the same id becomes a region and keeps text and tags, which a bare patch would erase."""
    notes = Annotations(grafana.url, Secret(TOKEN.encode()))
    notes.mark("drift", "amount drifts", ["fraud"], 1_000.0, identity="a & b=c")
    notes.mark("drift", "amount drifted", ["fraud"], 1_000.0, 1_600.0, identity="a & b=c")
    assert notes.close()
    (entry,) = grafana.stored.values()
    assert (entry["time"], entry["timeEnd"], entry["text"]) == (1_000_000, 1_600_000, "amount drifted")
    assert entry["tags"] == ["driftline", "drift", "fraud", "id:a & b=c"]


@pytest.mark.slow
@pytest.mark.parametrize("token", ["", " \n"])
def test_without_a_token_nothing_is_sent(grafana, token):
    """Without a token no request is made and no thread is started."""
    before = threading.active_count()
    notes = Annotations(grafana.url, Secret(token.encode()))
    notes.mark("drift", "amount", ["fraud"], 1.0)
    assert notes.close()
    assert not notes.enabled
    assert threading.active_count() == before
    assert grafana.requests == []


@pytest.mark.slow
@pytest.mark.parametrize("status", [401, 404, 500])
def test_failures_are_counted_and_logged_once(grafana, caplog, status):
    """Grafana's refusals raise nothing, count each, fill one log line, and the token is in none of it."""
    grafana.status = status
    metrics = Metrics()
    notes = Annotations(grafana.url, Secret(TOKEN.encode()), metrics=metrics)
    with caplog.at_level(logging.DEBUG):
        for number in range(3):
            notes.mark("retrain", "asked for", ["fraud"], 1.0, identity=str(number))
        assert notes.close()
    assert notes.counts == {"ok": 0, "failed": 3, "dropped": 0}
    assert metrics.registry.get_sample_value("driftline_annotations_total", {"result": "failed"}) == 3
    (line,) = [record.getMessage() for record in caplog.records if record.name == "dashboards.push"]
    assert str(status) in line
    assert TOKEN not in caplog.text
    assert TOKEN not in repr(notes)


@pytest.mark.slow
def test_a_grafana_that_is_away_stops_nothing(grafana):
    """Marks for an address where nobody listens are failures, and the next ones arrive when it is back."""
    port = grafana.server_port
    away = Annotations(f"http://127.0.0.1:{port}/elsewhere", Secret(TOKEN.encode()))
    away.mark("swap", "version 7", ["fraud"], 1.0)
    assert away.close()
    assert away.counts["failed"] == 1
    grafana.status = 500
    notes = Annotations(grafana.url, Secret(TOKEN.encode()))
    notes.mark("swap", "version 7", ["fraud"], 1.0)
    assert notes.close()
    grafana.status = 200
    notes.mark("swap", "version 7", ["fraud"], 1.0)
    assert notes.close()
    assert notes.counts == {"ok": 1, "failed": 1, "dropped": 0}
