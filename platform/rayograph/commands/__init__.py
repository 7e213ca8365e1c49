"""The command line: a command a file, each with its own arguments, found by its name when it is called."""
