"""Sources that come in Python packages: nothing to download but by pip, the same bytes on any machine."""
