"""Declarations of conditions other than a class: each names what is read of a sample, and what a request must say."""
