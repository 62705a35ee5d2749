"""What is the site's own about its models: bytes of an upload in, plain values out.

These classes run in the model host, so decoding a photo or resampling a sound costs the
web workers nothing. They import their frameworks inside `load()`, because `manage.py
check` looks at the classes in processes that must stay small.
"""
