"""Networks that were trained to see, whose features distances are taken in."""
