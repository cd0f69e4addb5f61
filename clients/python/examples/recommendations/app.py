"""Serves recommendations over HTTP: `python app.py localhost:9092 --port 8090`.

GET /users/{id}/recommendations?limit=20&attr.country=DE&related=u-1,u-2
GET /healthz
"""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request, Response
from pydantic_core import to_json
from serving import Follower, Known, Question, RefusedError


def create_app(known: Known, follower: Follower | None = None) -> FastAPI:
    """Make the application.

    Parameters
    ----------
    known
        What is answered from.
    follower
        Keeps it up to date; started and closed with the application. None: it stays as it is.
    """

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        if follower is not None:
            follower.start()
        try:
            yield
        finally:
            if follower is not None:
                follower.close()

    app = FastAPI(title="Recommendations", lifespan=life)
    is_ready: Callable[[], bool] = lambda: follower is None or follower.ready  # noqa: E731

    # An answer takes some 100 microseconds, less than to hand it to another thread.
    @app.get("/users/{user_id:path}/recommendations")
    async def recommendations(user_id: str, request: Request) -> Response:
        """Give items for a user."""
        try:
            question = Question.read(user_id, request.query_params.multi_items())
        except RefusedError as error:
            return _json({"detail": str(error)}, 400)
        if not is_ready():
            return _json({"detail": "the topics are not read yet"}, 503)
        return _json(known.answer(question), 200)

    @app.get("/healthz")
    async def health() -> Response:
        """Say whether the topics were read, and how much is known."""
        told = {"ready": is_ready(), **known.sizes()}
        return _json(told, 200 if told["ready"] else 503)

    return app


def _json(value: object, status: int) -> Response:
    return Response(to_json(value), status, media_type="application/json")


def main() -> None:
    """Serve until a signal comes."""
    import uvicorn  # noqa: PLC0415 - not wanted by tests

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("servers", help="brokers, host:port separated by commas")
    parser.add_argument("--prefix", default="", help="of the topics' names")
    parser.add_argument("--property", action="append", default=[], help="of librdkafka, NAME=VALUE")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8090)
    given = parser.parse_args()
    properties = dict(each.split("=", 1) for each in given.property)
    known = Known()
    follower = Follower(known, given.servers, prefix=given.prefix, properties=properties)
    uvicorn.run(create_app(known, follower), host=given.host, port=given.port, access_log=False)


if __name__ == "__main__":
    main()
