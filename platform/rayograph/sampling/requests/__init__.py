"""What a generation is asked for: rows read, checked, and fixed as a plan of work units."""
