"""``python -m benchmarks.gradbench``: a tool, on standard input and output."""

from benchmarks.threads import use_one_thread

use_one_thread()

import argparse  # noqa: E402
import sys  # noqa: E402

from benchmarks.gradbench.protocol import TOOLS, serve  # noqa: E402  (after the thread pools)

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--with", choices=tuple(TOOLS), default="autodiff", dest="tool")
    serve(sys.stdin, sys.stdout, parser.parse_args().tool)
