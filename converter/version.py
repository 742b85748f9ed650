"""The version of this tool, read by the build and by ``ggcp --version``."""

__version__ = "1.0.0"
