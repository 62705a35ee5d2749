"""The model host: one supervised process tree per machine that owns the models.

    client ──(control socket)── supervisor      declare, follow, status, reload, unload, stop
       │                            │
       └───(socket + arena)───── worker         predictions; one replica of one model each

Nothing in here imports Django: the host is a small program of its own, and the worker sets
Django up only for a runtime of the user's own.
"""
