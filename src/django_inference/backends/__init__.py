"""Where a model runs: in this process, in the model host, on another machine."""
