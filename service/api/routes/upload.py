"""What every route that takes images does with a request: read its body, have a worker do the work, wait for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from fastapi import Request

from service.api.dependencies import Dependencies, hung_up
from service.api.limits.request_body import Part, image_of, images_of
from service.api.request_context import RequestContext, context_of
from service.pipeline import Deadline, followed

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Upload:
    """One request as the worker gets it.

    Attributes:
        body: as sent.
        content_type, content_encoding, accept: its headers.
        context: facts of the request for its response, its log line and the metrics.
        queue_s: how long it waited for a worker.
    """

    body: bytes
    content_type: str | None
    content_encoding: str | None
    accept: str | None
    context: RequestContext
    queue_s: float = 0.0

    def image(self) -> Part:
        """Its one image; see `image_of`."""
        return image_of(self.body, self.content_type, self.content_encoding)

    def images(self, *names: str) -> dict[str, Part]:
        """Its images, by the names of their parts; see `images_of`."""
        return images_of(self.body, self.content_type, names, self.content_encoding)


async def on_a_worker(parts: Dependencies, request: Request, work: Callable[[Upload, Deadline], T]) -> T:
    """What `work` makes of the request, on a worker's thread; the body counts against the memory of all until then.

    Raises:
        LameganError: see `BodyReader`, `WorkerPool.run` and `work`.
    """
    with parts.reader.hold() as account:
        upload = Upload(
            body=await account.read(request.receive),
            content_type=request.headers.get("content-type"),
            content_encoding=request.headers.get("content-encoding"),
            accept=request.headers.get("accept"),
            context=context_of(request.scope),
        )
        return await parts.pool.run(partial(_followed, work, upload), partial(hung_up, request.receive))


def _followed(work: Callable[[Upload, Deadline], T], upload: Upload, deadline: Deadline, queue_s: float) -> T:
    """Do the work; its stages go to the request's context, for traces."""
    with followed(upload.context.stages, queue_s):
        return work(replace(upload, queue_s=queue_s), deadline)
