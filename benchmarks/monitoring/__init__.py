"""What watching costs: rows a second and core of the monitoring path, and what callers lose while the monitor runs.

python -m benchmarks.monitoring [--quick] [--only path|serving] [--rounds N]
"""
