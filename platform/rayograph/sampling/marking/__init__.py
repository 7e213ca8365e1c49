"""What every image says of itself: its record as XMP, a signed manifest (C2PA), an invisible watermark."""
