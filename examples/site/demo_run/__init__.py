"""What `demo.py` is made of: the server, the requests, the checks and what is printed."""
