"""What the open protocols ask of a server, answered by predictors.

Neither HTTP nor gRPC is known here; each transport maps the errors to its own statuses.
"""
