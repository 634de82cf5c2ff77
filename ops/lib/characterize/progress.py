"""A progress bar with the time that is left; where nobody looks, a line every 15 s."""

import sys
import time


class Progress:
    def __init__(self):
        self.stage, self.began, self.first, self.shown_at = None, 0.0, 0, -15.0

    def __call__(self, stage: str, done: int, total: int, text: str):
        now = time.monotonic()
        if stage != self.stage:
            self.stage, self.began, self.first, self.shown_at = stage, now, done, -15.0
        left = ""
        if done > self.first:
            seconds = (now - self.began) / (done - self.first) * (total - done)
            left = f"{seconds / 60:.0f} min left" if seconds > 90 else f"{seconds:.0f} s left"
        if sys.stderr.isatty():
            full = 30 * done // total
            print(f"\r\033[K{stage:<28} [{'#' * full}{'.' * (30 - full)}] {left:<12} {text}", end="", file=sys.stderr)
            if done >= total:
                print(file=sys.stderr)
        elif now - self.shown_at >= 15 or done >= total:
            print(f"{stage}: {done} of {total}, {left or 'begun'} {text}", file=sys.stderr, flush=True)
            self.shown_at = now
