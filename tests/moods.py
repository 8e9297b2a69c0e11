"""A model that answers as another one does, but for some rows: by them its caller says what it shall do."""

import gc
import os
import sys
import time
from typing import Any

HANG, EXIT, RAISE, NAN, TIDY = -1.0, -2.0, -3.0, -4.0, -5.0


class Moody:
    """Looks at the first value of each row; it is pickled with its code, and needs nothing of the tests."""

    def __init__(self, model: Any, stop: str) -> None:
        self.model = model
        self.stop = stop  # the file whose presence ends a hanging call

    def predict(self, rows: Any) -> Any:
        """Predict, hang, exit, raise, answer NaN, or raise where garbage is not collected."""
        moods = set(rows.iloc[:, 0])
        if HANG in moods:
            while not os.path.exists(self.stop):
                time.sleep(0.05)
        if EXIT in moods:
            sys.exit(3)
        if RAISE in moods:
            raise RuntimeError("the model raises")
        if TIDY in moods and not gc.isenabled():
            raise RuntimeError("nobody collects garbage")
        if NAN in moods:
            return [float("nan")] * len(rows)
        return self.model.predict(rows)

    def predict_proba(self, rows: Any) -> Any:
        """Predict as the other model does."""
        return self.model.predict_proba(rows)
