"""One model on one thread: load, warm, batch, run, split.

The worker of the model host and `LocalBackend` use the same engine.
"""
