"""Memory to compute in."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

F64Array = npt.NDArray[np.float64]


class Room:
    """An array that is used again for each block: fresh memory costs as much as the computing."""

    def __init__(self) -> None:
        self._array: F64Array = np.empty(0)

    def of(self, size: int) -> F64Array:
        """Return that many elements, which hold whatever was left there."""
        if self._array.size < size:
            self._array = np.empty(size)
        return self._array[:size]
