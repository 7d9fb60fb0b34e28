"""What is believed of measured points, and the proof of it."""
