"""What a class means: one rule, wherever one is given — parquet, CSV, JSON lines, HTTP, a folder's name.

A class is given by its name or its number, and its name comes first, as CSV has no types to tell "1" from 1 by:

1. text that is a class's name is that class, with blanks around it or without;
2. a whole number, however written (3, "3", " 3 ", 3.0, "003"), is the class of that name: where one is called "3";
3. or else it is the class of that number.

All else is no class: true and false, nothing, 2.5, nan, a name that the model does not have.
"""

import math
from collections.abc import Sequence
from decimal import Decimal

from rayograph.conditioning.values import whole_number


def class_text(given: object) -> str | None:
    """A class as text, whatever it was given as; None for what is none."""
    match given:
        case bool() | None:
            return None
        case float() if not math.isfinite(given):
            return None
        case str() | int() | float() | Decimal():
            return str(given)
    return None


def class_number(given: object, names: Sequence[str]) -> int | None:
    """The number of the class that is meant, below the number of classes or not; None for what names none."""
    text = class_text(given)
    if text is None:
        return None
    number = whole_number(text.strip())
    for name in (text, text.strip(), None if number is None else str(number)):
        if name in names:
            return names.index(name)
    return number
