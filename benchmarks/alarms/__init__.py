"""False alarms and detection delay of Homeostat's monitor and its peers, on block-resampled real streams.

`streams` owns the streams, `changes` what is planted in them, `detectors` who watches, `trial` one stream watched by one of them.
"""
