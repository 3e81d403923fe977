"""How long a run may train: in steps, epochs, minutes or tokens, whichever is used up first."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypedDict

from manyheads.errors import UserError, check_count, check_range


class BudgetState(TypedDict, total=False):
    """What a checkpoint keeps of a budget."""

    seconds: float  # spent in training and validation so far
    tokens: int  # label tokens seen so far


class Budget:
    """The limits of a run and what is used of them. A limit that is None does not count.

    `max_epochs` is not counted here: whoever asks knows how many steps it comes to and passes them as `total_steps`.
    `tokens` is public and is set by whoever counts tokens. Minutes are those of this process's clock, unless `hold` says
    what ranks that train together have agreed on.
    """

    def __init__(
        self,
        *,
        max_steps: int | None = None,
        max_epochs: int | None = None,
        max_minutes: float | None = None,
        max_tokens: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """-1 is no limit for steps and epochs, as in Lightning. Raises UserError when there is no limit at all."""
        self.max_steps = None if max_steps == -1 else max_steps
        self.max_epochs = None if max_epochs == -1 else max_epochs
        self.max_minutes = max_minutes
        self.max_tokens = max_tokens
        self.tokens = 0
        self._clock = clock
        self._seconds = 0.0  # of the intervals that have ended
        self._started: float | None = None
        self._held: float | None = None
        for name in ("max_steps", "max_epochs", "max_tokens"):
            if getattr(self, name) is not None:
                check_count(f"trainer.{name}", getattr(self, name))
        if max_minutes is not None:
            check_range("trainer.max_minutes", max_minutes)
            if max_minutes <= 0:
                raise UserError(f"trainer.max_minutes={max_minutes}: set a number above 0.")
        if all(limit is None for limit in (self.max_steps, self.max_epochs, max_minutes, max_tokens)):
            raise UserError(
                "trainer.max_steps=null: the run would never end. "
                "Set trainer.max_steps, trainer.max_epochs, trainer.max_minutes or trainer.max_tokens."
            )

    def start(self) -> None:
        """Starts the clock; called again, it goes on from where it is."""
        if self._started is None:
            self._started = self._clock()

    def stop(self) -> None:
        """Stops the clock; the time so far is kept."""
        self._seconds, self._started = self.seconds, None

    @property
    def seconds(self) -> float:
        """Seconds used, those before a resume included."""
        return self._seconds + (self._clock() - self._started if self._started is not None else 0.0)

    def hold(self, seconds: float) -> None:
        """Lets `fraction` count so many seconds until the next call, whatever the clock says."""
        self._held = seconds

    def fraction(self, step: int, total_steps: float) -> float:
        """The share that is used of the limit nearest to its end, 0 to 1.

        `step` optimizer steps are done of the `total_steps` that the limits on steps and epochs allow, or infinity.
        """
        used = [step / total_steps if total_steps > 0 else 1.0]
        if self.max_steps is not None:
            used.append(step / self.max_steps)
        if self.max_tokens is not None:
            used.append(self.tokens / self.max_tokens)
        if self.max_minutes is not None:
            used.append((self.seconds if self._held is None else self._held) / 60 / self.max_minutes)
        return min(1.0, max(used))

    def exhausted(self, step: int, total_steps: float) -> bool:
        """Whether a limit is reached."""
        return self.fraction(step, total_steps) >= 1.0

    def state_dict(self) -> BudgetState:
        """What a resumed run has to know: time and tokens used."""
        return {"seconds": self.seconds, "tokens": self.tokens}

    def load_state_dict(self, state: BudgetState) -> None:
        """Goes on from another run's use; the clock keeps running if it runs."""
        self._seconds, self._held = float(state.get("seconds", 0.0)), None
        self.tokens = int(state.get("tokens", 0))
        if self._started is not None:
            self._started = self._clock()
