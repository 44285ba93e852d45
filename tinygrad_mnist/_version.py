"""The version, in one place: the build reads it here, and so does ``tinygrad-mnist --version``."""

__version__ = "0.1.0"
