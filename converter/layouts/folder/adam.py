"""The settings with which Adam goes on: those of the file, else those of the trainer of its time.

Trainers that sum the gradients over a batch (releases, d39c8e686) decay all tensors, clip nothing
and let the rate fall to 0; they store their settings. Later ones take the mean, decay matrices
only, clip the gradient's norm at 1 and let the rate fall to a tenth; they store none (llama.cpp,
examples/train-text-from-scratch: ``get_default_train_params``, ``ggml_opt_default_params``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from converter.layouts.trainer import divided_rows
from converter.progress import LOGGER
from converter.snapshot import AdamSettings, Moments, Optimizer, Snapshot

DEFAULT_BATCH = 8
"""The trainers' ``-b`` where it is not said."""

_WARMUP = 100
_STEPS = 1000
_RATE, _BETAS, _EPSILON = 1e-3, (0.9, 0.999), 1e-8
_DECAY_OF_ALL, _DECAY_OF_MATRICES = 1.0, 0.1
_CLIPPING = 1.0
_SMALLEST = 0.1

_SAME_FACTOR = 1e-5
"""How near a stored factor is to the schedule that it comes from: it is a float32."""


@dataclass(frozen=True)
class Schedule:
    """How the learning rate changes: up to 1 along a line, then down along a cosine.

    Attributes:
        warmup: iterations on the way up.
        smallest: the factor at the end.
        known: whether the warmup follows from the file.
        is_new: whether it begins where the checkpoint is, because the old one has ended there.
    """

    warmup: int
    smallest: float
    known: bool
    is_new: bool = False

    @property
    def end(self) -> int:
        """The iteration at which the factor is the smallest."""
        return self.warmup + _STEPS

    def factor(self, iteration: int) -> float:
        """Return the factor on the learning rate."""
        if iteration < self.warmup:
            return iteration / self.warmup
        turn = math.pi * min(iteration - self.warmup, _STEPS) / _STEPS
        return self.smallest + (1 - self.smallest) * (1 + math.cos(turn)) / 2


@dataclass(frozen=True)
class Adam:
    """AdamW as PyTorch takes it.

    Attributes:
        iteration: iterations done.
        alpha: the learning rate before the schedule.
        betas: decay of the first and of the second moments.
        epsilon: what is added to the root of the second moments, in their scale.
        weight_decay: of matrices.
        weight_decay_of_norms: of the vectors of the norms.
        clipping: the largest norm of the gradient; 0 for any.
        batch: samples in an iteration.
        schedule: how the rate changes.
        block: iterations over which it stayed the same; None where it did not.
        rows: by which the first moments are divided, and were before; 1 for none.
        stored: whether the file holds these settings.
    """

    iteration: int
    alpha: float
    betas: tuple[float, float]
    epsilon: float
    weight_decay: float
    weight_decay_of_norms: float
    clipping: float
    batch: int
    schedule: Schedule
    block: int | None
    rows: int
    stored: bool

    @property
    def rate(self) -> float:
        """The learning rate of the next iteration."""
        return self.alpha * self.schedule.factor(self.iteration)


def adam_of(snapshot: Snapshot, moments: Moments, batch: int) -> Adam:
    """Return the settings with which a training goes on, and say what is assumed.

    Args:
        snapshot: a checkpoint with the state of Adam.
        moments: the moments that were found in it.
        batch: samples in an iteration.
    """
    optimizer = snapshot.required_optimizer
    rows = moments.resumption.rows * divided_rows(snapshot)
    stored = _sensible(optimizer.adam)
    of_sums = moments.of_sums or rows > 1
    decay = _DECAY_OF_ALL if of_sums else _DECAY_OF_MATRICES
    alpha, betas, epsilon = _RATE, _BETAS, _EPSILON
    if stored is not None:
        alpha, epsilon = _short(stored.learning_rate), _short(stored.epsilon)
        betas = _short(stored.first_moment_decay), _short(stored.second_moment_decay)
        decay = _short(stored.weight_decay) / alpha
    return Adam(
        iteration=optimizer.iteration_count,
        alpha=alpha,
        betas=betas,
        epsilon=epsilon / rows,
        weight_decay=decay,
        weight_decay_of_norms=decay if of_sums else 0.0,
        clipping=0.0 if of_sums else _CLIPPING,
        batch=batch,
        schedule=_schedule(optimizer, stored, 0.0 if of_sums else _SMALLEST),
        block=optimizer.iteration_limit if of_sums else None,
        rows=rows,
        stored=stored is not None,
    )


def warn_of_assumptions(adam: Adam) -> None:
    """Say which settings are not those of the file."""
    if not adam.stored:
        LOGGER.warning(
            "the file does not store the settings of Adam; those that the trainer had by default "
            "are taken: learning rate %g, weight decay %g, clipping %g",
            adam.alpha,
            adam.weight_decay,
            adam.clipping,
        )
    if adam.schedule.is_new:
        LOGGER.warning(
            "the schedule of the learning rate has ended; a new one, of %d iterations from %g on, "
            "begins at iteration %d",
            _STEPS,
            adam.alpha,
            adam.iteration,
        )
    elif not adam.schedule.known:
        LOGGER.warning(
            "the file does not tell how the learning rate was scheduled; a warmup of %d "
            "iterations, the trainer's default, is assumed",
            adam.schedule.warmup,
        )


def _sensible(settings: AdamSettings | None) -> AdamSettings | None:
    """Return settings with which Adam can run; None, and a warning, for others."""
    if settings is None:
        return None
    decays = settings.first_moment_decay, settings.second_moment_decay
    values = (settings.learning_rate, settings.epsilon, settings.weight_decay, *decays)
    if (
        all(math.isfinite(value) and value >= 0 for value in values)
        and settings.learning_rate > 0
        and max(decays) < 1
    ):
        return settings
    LOGGER.warning("Adam cannot run with the settings that the file stores; they are left out")
    return None


def _schedule(optimizer: Optimizer, stored: AdamSettings | None, smallest: float) -> Schedule:
    """Return the schedule; its warmup follows from the factor that is stored.

    That is the factor of the run before: at the iteration where that run began.
    """
    schedules = [Schedule(warmup, smallest, known=True) for warmup in (_WARMUP, 0)]
    began = optimizer.iteration_count - (optimizer.iteration_limit or 0)
    fitting = [
        schedule
        for schedule in schedules
        if stored is not None
        and began >= 0
        and abs(schedule.factor(began) - stored.schedule_factor) <= _SAME_FACTOR
    ]
    schedule = fitting[0] if fitting else Schedule(_WARMUP, smallest, known=False)
    if optimizer.iteration_count >= schedule.end:
        return Schedule(optimizer.iteration_count, smallest, schedule.known, is_new=True)
    return schedule


def _short(number: float) -> float:
    """Return the number of the fewest digits that is the same float32: 0.001, as people gave it."""
    return float(str(np.float32(number)))
