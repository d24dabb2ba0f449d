"""From fitted members to graphs that answer: blend, calibration, student, cascade, intervals, ONNX."""
