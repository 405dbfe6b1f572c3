"""GradBench (https://github.com/gradbench/gradbench): a tool that speaks its messages, a runner."""
