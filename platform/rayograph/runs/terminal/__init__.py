"""What stands on a terminal while work goes on: a bar, moving rates, plain lines; and the edge that escapes it all."""
