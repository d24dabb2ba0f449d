"""False alarms and detection delay of Homeostat's monitor and its peers, on block-resampled real streams.

`streams` owns the streams and `changes` what is planted in them. A `trial` is one stream, seen once by everybody: by Homeostat (`detectors`),
and by what the peers' alarms are made from (`columns`, `distances`, `two_samples`; ADWIN and Evidently's own report run `elsewhere`).
Thresholds are applied afterwards (`rules`, `peers`), so that a default and a matched one cost one pass. `counting` makes figures of
alarms, `measure` runs a world, `promises` holds the figures against what was promised, `tables` shows them.
"""
