"""The table of the contract in the documentation: what each runtime makes of people's data."""
