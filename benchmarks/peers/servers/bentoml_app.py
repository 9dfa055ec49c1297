"""BentoML: one worker process a core, one photo at a time in each; served by `bentoml serve`."""

import os
from typing import Annotated

import bentoml
from bentoml.validators import ContentType

from benchmarks.peers.work import PHOTO_TYPE, Work


@bentoml.service(workers=int(os.environ.get("PEERS_PROCESSES", "1")), threads=1, traffic={"timeout": 60})
class Photos:
    """The work, in each worker."""

    def __init__(self) -> None:
        """Load the model."""
        self.work = Work()

    @bentoml.api(route="/enhance")
    def enhance(self, photo: bytes, /) -> Annotated[bytes, ContentType(PHOTO_TYPE)]:
        """One photo."""
        return self.work(photo)
