"""Durable jobs: predictions that must not wait, and must not get lost.

A job is a row in the site's database, written in the transaction of whoever submits it. An
engine (Celery, Django's tasks) carries its id to a worker; the worker claims the row, predicts
and records one result. What the engine loses is enqueued again from the rows.
"""
