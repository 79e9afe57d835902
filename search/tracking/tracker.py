"""The threads that send MLflow what waits: beside a search, and for ``sync``. Whoever waits for one
is told what for, and not for ever.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from search.screen.signals import interruptible
from search.tracking.sender import Sender
from spaces.errors import FailedError, UserError
from trainables.io.refused import told

logger = logging.getLogger("visiontune.tracking")
LIVE_EVERY = 10.0
"""Seconds between two looks at the steps of trials that run."""
LAST_TRIES = 3
"""Tries in a row that must fail before the end of a search stops waiting for MLflow."""
LAST_PATIENCE = 60.0
"""Seconds that a finished search waits for MLflow before it leaves the rest to ``sync``."""
Answer = TypeVar("Answer")
MOMENT = 1.5
"""Seconds after which whoever waits for MLflow is told what for."""
SILENCE = 120.0
"""Seconds without a word from MLflow after which ``sync`` gives up; a server that answers a byte at
a time ends no request.
"""


class Tracker(threading.Thread):
    """Sends the outbox in the background, and goes on trying while MLflow is away.

    Args:
        say: told once when MLflow cannot be told, and once when it can again.
    """

    def __init__(self, sender: Sender, say: Callable[[str], None] = lambda line: None) -> None:
        super().__init__(name="visiontune-tracking", daemon=True)
        self._sender = sender
        self._say = say
        self._closing = threading.Event()
        self._deadline = float("inf")
        self.error = ""

    def run(self) -> None:
        pause, last_tries, shown = 1.0, 0, 0.0
        while True:
            closing = self._closing.is_set()
            try:
                self._sender.send()
                if not closing and time.monotonic() - shown > LIVE_EVERY:
                    self._sender.send_live()
                    shown = time.monotonic()
                if self.error:
                    self._say(f"MLflow at {self._sender.place} is told again")
                self.error, pause = "", 1.0
            except Exception as error:
                if not self.error and not closing:
                    self._say(
                        f"MLflow at {self._sender.place} cannot be told for now "
                        f"({told(error)}); the search goes on"
                    )
                self.error = told(error)
                logger.warning(
                    "MLflow could not be told, trying again in %.0f s: %s", pause, self.error
                )
                self._sender.reset()
                pause = min(pause * 2, 60.0)
                last_tries += closing
            if closing and (
                not self.error or last_tries >= LAST_TRIES or time.monotonic() >= self._deadline
            ):
                return
            if closing:
                time.sleep(1.0)
            else:
                self._closing.wait(pause)

    def close(self, patience: float, waits: Callable[[str], None] = lambda place: None) -> str:
        """Send the rest, for at most ``patience`` seconds; returns why not all was sent, or
        nothing.

        Args:
            waits: told where MLflow is, once, if that takes longer than a moment.

        Raises:
            KeyboardInterrupt: if somebody has seen enough; the thread may still be sending then.
        """
        self._deadline = time.monotonic() + patience
        self._closing.set()
        self.join(min(patience, MOMENT))
        if patience and self.is_alive():
            waits(self._sender.place)
            self.join(max(0.0, self._deadline - time.monotonic()))
        return (
            self.error
            if not self.is_alive()
            else self.error or f"still sending after {patience:.0f} s"
        )

    def finish(self) -> str:
        """Send the rest when a search has ended, for as long as its user has patience; returns why
        not all was sent, or nothing.
        """

        def say(place: str) -> None:
            self._say(
                f"waiting up to {LAST_PATIENCE:.0f} s for MLflow at {place}; Ctrl-C leaves "
                "the rest to visiontune sync"
            )

        try:
            with interruptible():
                return self.close(LAST_PATIENCE, say)
        except KeyboardInterrupt:
            return self.error or "it was not waited for"


def in_time(
    sender: Sender, ask: Callable[[], Answer], say: Callable[[str], None], silence: float = SILENCE
) -> Answer:
    """What ``ask`` hears from MLflow, asked in a thread that may hang without the program hanging.

    Args:
        ask: a method of ``sender``.
        say: told what is waited for, if it takes longer than a moment.
        silence: seconds without an answer of MLflow's after which it is given up.

    Raises:
        UserError: if MLflow lacks what a user has to bring back.
        FailedError: one line, if MLflow cannot be asked; what it was told is noted.
    """
    outcome: list[Answer | Exception] = []

    def answer() -> None:
        try:
            outcome.append(ask())
        except Exception as error:
            outcome.append(error)

    began, waiting = time.monotonic(), sender.waiting
    thread = threading.Thread(target=answer, name="visiontune-sync", daemon=True)
    thread.start()
    thread.join(MOMENT)
    if thread.is_alive():
        what = f", to tell it {waiting} facts" if waiting else ""
        say(f"waiting for MLflow at {sender.place}{what}; Ctrl-C leaves the rest for another time")
    then = "start it, or give it time; visiontune sync goes on where this stopped"
    while thread.is_alive():
        thread.join(0.2)
        if time.monotonic() - max(began, sender.heard) > silence:
            raise FailedError(
                f"MLflow at {sender.place} has not answered for {silence:g} s, and lacks "
                f"{sender.waiting} facts; {then}"
            )
    (found,) = outcome
    if isinstance(found, UserError):
        raise found
    if isinstance(found, Exception):
        raise FailedError(
            f"MLflow at {sender.place} cannot be told ({told(found)}); {then}"
        ) from found
    return found
