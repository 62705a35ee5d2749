"""The formats of the open protocols: between their bytes and named numpy arrays.

Neither Django nor a transport is known here.
"""
