"""``backtest open``: reports served on this machine from a folder of runs that may be growing.

Only the loopback interface is listened on, and every request must carry the token that the URL
begins with, or the cookie that it is exchanged for. Pages load nothing from elsewhere.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from markupsafe import Markup
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backtest.comparison.comparison import Comparison, compare
from backtest.comparison.rows import earned
from backtest.core.parts import Parts
from backtest.errors import BacktestError
from backtest.report.growing_store import GrowingStore
from backtest.report.html import amount, number, paragraph, percent, table
from backtest.report.page import page, render_report

COOKIE = "backtest_token"
HOSTS = ("127.0.0.1", "localhost")
MOST_ROWS = 2_000
"""Runs that the first page lists, the newest."""

_KEPT = 8
_POLL_S = 1.0
_HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def make_app(folder: Path, plugins: Parts, token: str) -> ASGIApp:
    """The application.

    Args:
        folder: of runs; it need not exist yet.
        plugins: give the sections of reports.
        token: what a browser has to show.
    """
    pages = _Pages(GrowingStore(folder), plugins, str(folder))
    routes = [
        Route("/", pages.index),
        Route("/run/{run}", pages.run),
        Route("/sweep/{sweep}", pages.sweep),
        Route("/compare", pages.compare),
        Route("/changes", pages.changes),
    ]
    return _Guard(Starlette(routes=routes, exception_handlers={404: _not_found}), token)


def new_token() -> str:
    """A token that nobody can guess."""
    return secrets.token_urlsafe(24)


class _Pages:
    """What each address shows."""

    def __init__(self, store: GrowingStore, plugins: Parts, place: str) -> None:
        self._store = store
        self._plugins = plugins
        self._place = place
        self._made: OrderedDict[Any, str] = OrderedDict()

    async def index(self, request: Request) -> Response:
        return HTMLResponse(await run_in_threadpool(self._index))

    async def run(self, request: Request) -> Response:
        run = request.path_params["run"]
        return await self._report(lambda: compare(self._store.runs([run])))

    async def sweep(self, request: Request) -> Response:
        sweep = request.path_params["sweep"]

        def chosen() -> Comparison:
            runs, failed = self._store.runs_of_sweep(sweep)
            return compare(runs, failed, trials=runs)

        return await self._report(chosen)

    async def compare(self, request: Request) -> Response:
        runs = list(dict.fromkeys(request.query_params.getlist("run")))
        return await self._report(lambda: compare(self._store.runs(runs)))

    async def changes(self, request: Request) -> Response:
        """Server-sent events: one whenever a run ends or vanishes, or a sweep gets on."""

        async def told() -> AsyncIterator[str]:
            before = await run_in_threadpool(self._store.signature)
            yield ": connected\n\n"
            while not await request.is_disconnected():
                await asyncio.sleep(_POLL_S)
                now = await run_in_threadpool(self._store.signature)
                if now != before:
                    before = now
                    yield "data: changed\n\n"

        return StreamingResponse(told(), media_type="text/event-stream")

    async def _report(self, chosen: Callable[[], Comparison]) -> Response:
        try:
            return HTMLResponse(await run_in_threadpool(self._rendered, chosen))
        except BacktestError as error:
            return HTMLResponse(_message("This cannot be shown", str(error)), status_code=404)

    def _rendered(self, chosen: Callable[[], Comparison]) -> str:
        compared = chosen()
        digests, trials = ([run.digest for run in of] for of in (compared.runs, compared.trials))
        key = tuple(digests), tuple(trials), compared.failed
        if key not in self._made:
            self._made[key] = render_report(compared, self._plugins, live=True).html
        self._made.move_to_end(key)
        while len(self._made) > _KEPT:
            self._made.popitem(last=False)
        return self._made[key]

    def _index(self) -> str:
        rows, sweeps = self._store.rows(), self._store.sweeps()
        chapters: list[dict[str, Any]] = []
        if sweeps:
            lines = [
                (
                    Markup('<a href="/sweep/{}">{}</a>').format(sweep.id, sweep.name),
                    sweep.id,
                    f"{sweep.counts.get('done', 0):,} of {sweep.total:,}",
                    f"{sweep.counts.get('failed', 0):,}",
                )
                for sweep in sweeps
            ]
            headers = ("sweep", "id", "done", "failed")
            content = table(headers, lines, right=headers[3:], caption="Sweeps in this folder")
            chapters.append({"name": "sweeps", "title": "Sweeps", "content": content})
        chapters.append({"name": "runs", "title": "Runs", "content": _runs(rows)})
        entries = [row["run"] for row in rows[:MOST_ROWS]]
        subtitle = f"{len(rows):,} finished runs in {self._place}"
        return page("Runs", subtitle, chapters, entries=entries, first=(), live=True)


def _runs(rows: list[dict[str, Any]]) -> Markup:
    if not rows:
        return paragraph("No run has finished yet. This page shows them as they do.")
    shown = rows[:MOST_ROWS]
    factors = ("dataset", "strategy", "policy", "service", "sizing", "scale")
    headers = ("run", "ended", "earned", "unit", *factors, "answered", "p99 ms", "events")
    lines = [
        (
            Markup('<a href="/run/{}">{}</a>').format(row["run"], row["run"]),
            row["created"].removesuffix("+00:00").replace("T", " "),
            amount(earned(row)),
            row["unit"],
            *(row[name] for name in ("dataset", "strategy", "policy", "service_model", "sizing")),
            number(float(row["scale"])),
            percent(row["response_rate"]),
            amount(row["p99_ms"], 3),
            f"{row['events']:,}",
        )
        for row in shown
    ]
    made = table(
        headers, lines, right=("earned", "answered", "p99 ms", "events"), factors=factors,
        entries=range(len(shown)), caption="Finished runs, the newest first; times are UTC",
    )  # fmt: skip
    if len(rows) > MOST_ROWS:
        made += paragraph(f"The newest {MOST_ROWS:,} of {len(rows):,} are listed.", "note")
    return made


class _Guard:
    """Lets through whoever shows the token, and asks for it by this machine's name alone.

    A page of another site can make a browser ask, but neither knows the token nor is sent the
    cookie; a name that is made to point here is not answered.
    """

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        refused = self._refused(request)
        if refused is not None:
            await refused(scope, receive, _with_headers(send))
            return
        await self._app(scope, receive, _with_headers(send))

    def _refused(self, request: Request) -> Response | None:
        if request.url.hostname not in HOSTS:
            return HTMLResponse(_message("Not found", "No such host."), status_code=404)
        given = request.query_params.get("token")
        if given is not None and secrets.compare_digest(given.encode(), self._token.encode()):
            answer = RedirectResponse(request.url.path, status_code=303)
            answer.set_cookie(COOKIE, self._token, httponly=True, samesite="strict")
            return answer
        known = request.cookies.get(COOKIE, "")
        if not secrets.compare_digest(known.encode(), self._token.encode()):
            text = "Open the address that the command printed: it holds the token."
            return HTMLResponse(_message("Not allowed", text), status_code=403)
        return None


def _with_headers(send: Send) -> Callable[[Message], Awaitable[None]]:
    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            more = [(name.lower().encode(), value.encode()) for name, value in _HEADERS.items()]
            message = {**message, "headers": [*message.get("headers", ()), *more]}
        await send(message)

    return sent


async def _not_found(request: Request, error: Exception) -> Response:
    return HTMLResponse(_message("Not found", "There is no such page."), status_code=404)


def _message(title: str, text: str) -> str:
    content = paragraph(text) + Markup('<p><a href="/">All runs</a></p>')
    chapter = {"name": "message", "title": title, "content": content}
    return page(title, "", [chapter], entries=(), first=())
