"""How good the samples are, how faithful the autoencoder is, and a page that shows both.

`measures` turns arrays into figures, `figures` and `curves` draw, and `report` makes one page of it all.
"""
