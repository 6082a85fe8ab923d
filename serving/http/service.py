"""The HTTP service: native routes, the Open Inference Protocol (bodies in serving/http/oip.py), health and metrics.

Rules:
1. A request is answered in the event loop, by the version that was served when its body had arrived.
2. A wrong body never gives a 5xx or a traceback: it gives a 4xx and `{"error": "field: ..."}`.
3. A model without a version gives a 503, an unknown model a 404. The process is alive in both cases.
4. Labels of the metrics are route patterns, never paths that a client sent.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.metadata import version as installed
from typing import Any

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler

from detectors.errors import EventError, ModelError
from detectors.spec import ModelSpec
from serving.http.body import MAX_BODY_BYTES, read_label, read_prediction
from serving.http.eventlog import EventLog
from serving.http.oip import answer_infer, model_metadata, read_infer
from serving.live import LiveModel, Served
from serving.registry.artifact import predict
from streams.metrics import Metrics
from streams.records.times import rfc3339

_BODY_SECONDS = 30.0
#: Rows of an infer request that are answered before other requests get their turn.
_ROWS_A_TURN = 50

_LOG = logging.getLogger("driftline.serve")


class Service:
    """The handlers of all routes; `app()` returns the application."""

    def __init__(self, specs: Sequence[ModelSpec], models: Mapping[str, LiveModel], log: EventLog, metrics: Metrics) -> None:
        """Serve `models`, one for each spec; the process is ready once any model has a version."""
        self._models = models
        self._max_features = {spec.name: spec.max_features for spec in specs}
        self._under_way = 0
        self._idle: asyncio.Event | None = None
        self._log = log
        self._metrics = metrics

    def app(self) -> web.Application:
        """Return the application; it owns nothing that needs closing."""
        app = web.Application(middlewares=[self._measure], client_max_size=MAX_BODY_BYTES)
        app.add_routes(
            [
                web.post("/v1/models/{model}:predict", self.predict),
                web.post("/v1/models/{model}:label", self.label),
                web.get("/v1/models/{model}", self.model),
                web.get("/v2", self.server_metadata),
                web.get("/v2/health/live", self.alive),
                web.get("/v2/health/ready", self.ready),
                web.get("/v2/models/{model}", self.model_metadata),
                web.get("/v2/models/{model}/ready", self.model_ready),
                web.post("/v2/models/{model}/infer", self.infer),
                web.get("/metrics", self.metrics),
            ]
        )
        return app

    async def drain(self, timeout_seconds: float) -> None:
        """Return once no request is under way, also none whose body still arrives; each answer closes its connection."""
        self._idle = asyncio.Event()
        if self._under_way:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._idle.wait(), timeout_seconds)

    async def predict(self, request: web.Request) -> web.Response:
        """Answer one row of named features."""
        live = self._model(request)
        row = read_prediction(await _body(request), self._max_features[live.name])
        served = _served(live)
        answer = predict(served.artifact.model, row.features)
        version = str(served.pointer.version)
        identity = self._log.prediction(live.name, version, row, answer)
        if live.awaiting is served:
            live.first_answer(served)
        return _json(
            {
                "id": identity,
                "model": live.name,
                "version": version,
                "generation": served.pointer.generation,
                "prediction": answer.as_json(),
            }
        )

    async def label(self, request: web.Request) -> web.Response:
        """Take the true label of one prediction, to be joined later."""
        live = self._model(request)
        label = read_label(await _body(request))
        if not self._log.label(live.name, label):
            raise web.HTTPServiceUnavailable(
                text="the queue to Kafka is full: send this label again in a moment", headers={"Retry-After": "1"}
            )
        return _json({"id": label.id, "model": live.name}, 202)

    async def infer(self, request: web.Request) -> web.Response:
        """Answer the rows of an OIP v2 request, all with one version."""
        live = self._model(request)
        wanted = read_infer(await _body(request), self._max_features[live.name])
        served = _served(live)
        version = str(served.pointer.version)
        answers = []
        for number, row in enumerate(wanted.rows, start=1):
            answers.append(predict(served.artifact.model, row.features))
            if number % _ROWS_A_TURN == 0:
                await asyncio.sleep(0)
        # Logged after the last row: a request that is refused leaves nothing in the log.
        ids = [self._log.prediction(live.name, version, row, answer) for row, answer in zip(wanted.rows, answers, strict=True)]
        if live.awaiting is served:
            live.first_answer(served)
        return _json(answer_infer(wanted, live.name, version, ids, answers))

    async def model(self, request: web.Request) -> web.Response:
        """Return which version answers, since when, and how long the swaps took."""
        live = self._model(request)
        served, refused = live.served, live.refused
        body: dict[str, Any] = {"model": live.name, "ready": served is not None}
        if served is not None:
            body |= {
                "version": str(served.pointer.version),
                "generation": served.pointer.generation,
                "moved_at": rfc3339(served.pointer.moved_at),
                "by": served.pointer.by,
                "loaded_at": rfc3339(served.loaded_at),
                "kind": served.artifact.kind,
                "parent": served.artifact.parent,
                "lineage": served.artifact.lineage,
            }
        body["swaps"] = [
            {
                "replaced": str(swap.replaced),
                "version": str(swap.version),
                "generation": swap.generation,
                "by": swap.by,
                "seconds": round(swap.seconds, 6),
            }
            for swap in live.swaps
        ]
        if refused is not None:
            version = None if refused.pointer is None else str(refused.pointer.version)
            body["refused"] = {"version": version, "reason": refused.reason, "error": refused.error}
        return _json(body)

    async def alive(self, _request: web.Request) -> web.Response:
        """Answer, which shows that the process is alive."""
        return _json({"live": True})

    async def ready(self, _request: web.Request) -> web.Response:
        """Return whether any model has a version: a model without one must not take the others out of service."""
        missing = [name for name, live in self._models.items() if live.served is None]
        ready = len(missing) < len(self._models)
        return _json({"ready": ready, "without_version": missing}, 200 if ready else 503)

    async def server_metadata(self, _request: web.Request) -> web.Response:
        """Return the protocol's description of this server."""
        return _json({"name": "driftline", "version": installed("driftline"), "extensions": []})

    async def model_metadata(self, request: web.Request) -> web.Response:
        """Return the protocol's description of a model."""
        live = self._model(request)
        served = live.served
        golden = served.artifact.golden if served is not None else ()
        version = None if served is None else served.pointer.version
        return _json(model_metadata(live.name, version, golden[0] if golden else None))

    async def model_ready(self, request: web.Request) -> web.Response:
        """Return whether the model has a version."""
        live = self._model(request)
        return _json({"name": live.name, "ready": live.served is not None}, 200 if live.served is not None else 503)

    async def metrics(self, _request: web.Request) -> web.Response:
        """Return the metrics in Prometheus' text format."""
        content_type, body = self._metrics.render()
        return web.Response(body=body, headers={"Content-Type": content_type})

    def _model(self, request: web.Request) -> LiveModel:
        name = request.match_info["model"]
        live = self._models.get(name)
        if live is None:
            raise web.HTTPNotFound(text=f"model {name[:60]!r}: no such model; known are {', '.join(sorted(self._models))}")
        return live

    @web.middleware
    async def _measure(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        began = time.perf_counter()
        self._under_way += 1
        try:
            response = await _guarded(request, handler)
        finally:
            self._under_way -= 1
            if self._idle is not None and not self._under_way:
                self._idle.set()
        if self._idle is not None:
            response.force_close()
        resource = request.match_info.route.resource
        route = "unmatched" if resource is None else resource.canonical
        self._metrics.count("driftline_requests_total", route=route, status=str(response.status))
        self._metrics.observe("driftline_request_seconds", time.perf_counter() - began, route=route)
        return response


async def _guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except Exception as error:  # noqa: BLE001 - the border of the process: whatever happened becomes an answer
        return _failure(request, error)


def _failure(request: web.Request, error: Exception) -> web.Response:
    kept: dict[str, str] = {}
    match error:
        case EventError():
            status, text = 400, str(error)
        case ModelError():
            status, text = 422, str(error)
        case web.HTTPRequestEntityTooLarge():
            status, text = 413, f"body: more than {MAX_BODY_BYTES} bytes; send fewer rows or shorter values"
        case web.HTTPException():
            status, text = error.status, error.text or error.reason
            if request.match_info.http_exception is not None:
                text = f"{request.method} {request.path[:120]}: no such route ({error.reason}); see docs/serving.md"
            kept = {name: value for name, value in error.headers.items() if name in ("Allow", "Retry-After")}
        case TimeoutError():
            status, text = 408, f"body: not complete after {_BODY_SECONDS:g} s; send it at once"
        case web.RequestPayloadError() | ConnectionError():
            status, text = 400, "body: cannot be read to its end; check its length and Content-Encoding"
        case _:
            _LOG.error("%s %s failed", request.method, request.rel_url, exc_info=error)
            status, text = 500, "internal error: the log of driftline serve tells more"
    return _json({"error": text}, status, kept)


async def _body(request: web.Request) -> bytes:
    async with asyncio.timeout(_BODY_SECONDS):
        return await request.read()


def _served(live: LiveModel) -> Served:
    if live.served is None:
        raise web.HTTPServiceUnavailable(
            text=f"model {live.name}: no version was promoted yet; publish one, then ask again", headers={"Retry-After": "2"}
        )
    return live.served


def _json(body: dict[str, Any], status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(body=orjson.dumps(body), status=status, content_type="application/json", headers=headers)
