"""What the producer API and the GPU worker both stand on."""

__version__ = "0.1.0"
