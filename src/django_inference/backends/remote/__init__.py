"""Calls to model servers on other machines: what both protocols share.

Nothing here is dialled before the first call, and a process that was forked off dials anew.
"""
