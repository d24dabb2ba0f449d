"""How good the models are: Homeostat's whole training beside tuned peers, on fixed splits of five data sets.

python -m benchmarks.quality [--quick] [--only NAME] [--budget SECONDS] [--markdown]
"""
