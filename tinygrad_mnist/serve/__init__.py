"""The page to draw a digit on, and the HTTP service behind it."""
