"""Scores of models on pictures, deep images and scenes."""
