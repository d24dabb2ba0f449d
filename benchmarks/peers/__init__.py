"""What Homeostat is measured beside.

Servers: each runs alone, given a bundle's folder and a port. None imports Homeostat: they run in environments of their own
(`benchmarks.environments`), with numpy and onnxruntime for the model they all share, `benchmarks.peers.model`. Each is written as its
own documentation teaches, its settings at their defaults.

Models (`tuned_xgboost`, `tuned_catboost`, `plain_lightgbm`): each takes the table of `benchmarks.peers.tabular` and gives back scores.

Monitors (`drift_adwin`, `drift_evidently`): each is handed arrays in a file and writes what it found to another.
"""
