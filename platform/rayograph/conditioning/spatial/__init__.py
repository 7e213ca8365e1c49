"""Conditions of places: maps, boxes, small images, holes. One file a kind."""
