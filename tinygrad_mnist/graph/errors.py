"""What can go wrong when a drawing is laid out."""


class LayoutError(RuntimeError):
    """A picture could not be made: nothing here lays it out, or what does so failed."""


class TooLarge(LayoutError):
    """A picture would take too long to lay out."""
