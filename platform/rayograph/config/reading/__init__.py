"""Job files, profiles and --set, from text to declarations; and what is wrong with them, in one line."""
