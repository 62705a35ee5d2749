"""The table of runtimes in the documentation: what each was seen to do with a real model."""
