"""What takes part: for each tool its ``EVALUATIONS``, each function written as its users would.

``EVALUATIONS[evaluation][function]`` takes the arguments that the problem's ``read`` gives, gets
everything ready (arrays of its own kind, recording, compiling) and returns what is timed: a
callable without arguments whose result is complete when it returns.
"""
