"""The command line: `manage.py inference` and `manage.py inference_host`."""
