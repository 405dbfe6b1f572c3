"""What all tests share."""

import os

# Read when SciPy is first imported: its functions then take traced values.
os.environ.setdefault("SCIPY_ARRAY_API", "1")
