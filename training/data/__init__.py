"""From bytes at a place to a training frame: named data sets, any table by URI, splits, and a first look at columns."""
