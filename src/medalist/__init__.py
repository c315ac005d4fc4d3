"""medalist: from a computer-vision competition's data to a validated submission."""

__version__ = "0.1.0"
