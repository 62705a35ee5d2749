"""Found by `manage.py` by the names of the modules."""
