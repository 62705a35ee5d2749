"""Filters of templates: `{% load inference %}`."""
