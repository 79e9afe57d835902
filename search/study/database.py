"""A database of studies that may be locked for a while, or restart: whoever asks waits, says so,
and asks again.

Nothing is lost by it: trials run on in their workers, and what they report waits with Tune. Each of
Optuna's operations is one transaction, so what failed has not happened; one that was committed just
when the connection broke is found done when it is asked again.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage

from search.sampling.optuna_internals import TRANSACTIONS
from spaces.errors import FailedError, on_one_line

logger = logging.getLogger("visiontune.storage")
PAUSE = 1.0
LOCKED = ("database is locked", "database table is locked", "database schema is locked")
FOR_GOOD = (
    "readonly database",
    "unable to open",
    "disk is full",
    "disk i/o error",
    "no such",
    "malformed",
    "not a database",
)
"""What sqlite says of a file that no waiting makes usable."""


class Database(RDBStorage):
    """Optuna's storage in a database, asked again while it cannot answer.

    Args:
        url: of the database.
        say: told when somebody begins to wait, and when the database answers again.
        patience: seconds until it is given up.

    Raises:
        SQLAlchemyError: if it cannot be opened: only a locked one is waited for then.
        FailedError: from any method, one line, once ``patience`` is over.
    """

    def __init__(self, url: str, say: Callable[[str], None], patience: float) -> None:
        self._say, self._patience = say, patience
        # an attempt is short, or who waits would be told late: Optuna makes five of them for a new
        # trial
        options: dict[str, Any] = (
            {"connect_args": {"timeout": 1}}
            if url.startswith("sqlite")
            else {"pool_pre_ping": True}
        )
        self._patiently(lambda: RDBStorage.__init__(self, url, options), url, opening=True)

    def _patiently(
        self, action: Callable[[], Any], url: str, opening: bool = False, method: str = ""
    ) -> Any:
        """``action()``, again and again while the database is locked or away."""
        began, tries = time.monotonic(), 0
        while True:
            try:
                done = action()
            except UpdateFinishedTrialError:
                if not tries or method != "set_trial_state_values":
                    raise
                # the first try was committed, and the connection broke before it was said
                done = True
            except FailedError:
                raise
            except Exception as error:
                cause = away(error, opening)
                if not cause:
                    raise
                tries += 1
                if tries == 1:
                    self._told(
                        f"the database of studies, {url}, {cause}: waiting for it up to "
                        f"{self._patience:.0f} s; nothing is lost"
                    )
                if time.monotonic() - began > self._patience:
                    what = f"storage {url} {cause}, and so for {self._patience:.0f} s"
                    raise FailedError(
                        f"{what}; end what holds it, or start it, then go on with visiontune resume"
                    ) from error
                self._forget_connections()
                time.sleep(PAUSE)
                continue
            if tries:
                self._told(
                    f"the database of studies answers again after {time.monotonic() - began:.0f} s"
                )
                if done is False and method == "set_trial_state_values":
                    # nobody else writes here: it was our own first try that took the trial
                    done = True
            return done

    def _told(self, line: str) -> None:
        logger.warning(line)
        self._say(line)

    def _forget_connections(self) -> None:
        """Those to a server that was restarted are dead."""
        if hasattr(self, "scoped_session"):
            self.scoped_session.remove()
            self.engine.dispose()


def away(error: BaseException, opening: bool = False) -> str:
    """How a database that cannot answer now stands, in words; empty if waiting does not help.

    Args:
        opening: a server that does not answer at first has a wrong address, and is not waited for.
    """
    import sqlalchemy

    for one in _chain(error):
        if isinstance(one, sqlalchemy.exc.DBAPIError):
            said = str(one.orig).lower()
            if any(words in said for words in LOCKED):
                return "is locked by another program"
            passing = (
                isinstance(one, sqlalchemy.exc.OperationalError | sqlalchemy.exc.InterfaceError)
                or one.connection_invalidated
            )
            if passing and not opening and not any(words in said for words in FOR_GOOD):
                return f"does not answer ({on_one_line(one.orig)})"
            return ""
        if isinstance(one, sqlalchemy.exc.TimeoutError):
            return "has no connection left"
    return ""


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _patient(method: Any) -> Any:
    @functools.wraps(method)
    def asked(self: Database, *arguments: Any, **named: Any) -> Any:
        return self._patiently(
            lambda: method(self, *arguments, **named), self.url, method=method.__name__
        )

    return asked


for _name in TRANSACTIONS:
    setattr(Database, _name, _patient(getattr(RDBStorage, _name)))
