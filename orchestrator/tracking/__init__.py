"""Trackers that show a run live: TensorBoard, MLflow, Weights & Biases and Ray's metrics."""
