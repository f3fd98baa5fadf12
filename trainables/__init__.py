"""Computations of a worker: network, degradation, patches, objective, training loops and metrics.

Nothing here knows where it runs. A loop is a function of settings, data and a callback, so that a test, a
laptop or a cluster drives the same code.
"""
