"""Both open protocols by gRPC.

`server` listens; `admission` lets calls in; `methods` turns the methods of a servicer into what
gRPC calls, and errors into codes. A servicer has one method for each method of its service and
is listed in `services`.
"""
