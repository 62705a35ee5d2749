"""A small Django site that shows three models at work."""
