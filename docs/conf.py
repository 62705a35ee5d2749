"""How Sphinx builds the documentation: `make docs`."""

from __future__ import annotations

from django_inference import __version__

project = "django-inference"
author = "the django-inference developers"
copyright = author
release = __version__

extensions = ["myst_parser"]
exclude_patterns = ["_build"]
source_suffix = {".md": "markdown"}
# A link to a page or a heading that is not there is an error.
nitpicky = True

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = f"django-inference {release}"
# The pages need nothing from another server.
html_show_sphinx = False
html_copy_source = False
