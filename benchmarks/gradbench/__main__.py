"""``python -m benchmarks.gradbench``: the tool, on standard input and output."""

from benchmarks.threads import use_one_thread

use_one_thread()

import sys  # noqa: E402

from benchmarks.gradbench.protocol import serve  # noqa: E402  (after the thread pools were set)

if __name__ == "__main__":
    serve(sys.stdin, sys.stdout)
