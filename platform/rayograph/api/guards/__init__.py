"""Who may ask what, how often, and how a refusal is said."""
