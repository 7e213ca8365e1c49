"""From the bytes of an image to its pixels: formats, damage, colours, transparency, orientation, size."""
