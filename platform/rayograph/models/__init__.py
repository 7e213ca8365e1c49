"""The networks, built from their declarations: diffusers' where it has them, behind one call each."""
