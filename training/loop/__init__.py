"""The closed loop: retrain, judge, promote or refuse, and write down why."""
