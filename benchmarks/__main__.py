"""``python -m benchmarks``."""

from benchmarks.threads import use_one_thread

use_one_thread()

from benchmarks.command import main  # noqa: E402  (the thread pools read what was just set)

if __name__ == "__main__":
    raise SystemExit(main())
