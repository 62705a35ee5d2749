"""`manage.py inference_jobs`."""
