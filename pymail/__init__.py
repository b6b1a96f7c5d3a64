"""pymail: mail for a Unix machine that runs no mail server."""

__version__ = "0.1.0"
