"""Trackers: what a run measures, live, in TensorBoard, MLflow, Weights & Biases and Ray's metrics."""
