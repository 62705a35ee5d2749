"""How gunicorn serves the demo. It finds this file by itself in the folder it is started in."""

from __future__ import annotations

import os

bind = os.environ.get("DEMO_BIND", "127.0.0.1:8000")

# Two processes, so that there is something to share the models. Threads, because a request
# that waits for a model needs no processor meanwhile.
workers = 2
worker_class = "gthread"
threads = 4

# It would lie in the home folder, where two demos would meet.
control_socket_disable = True
