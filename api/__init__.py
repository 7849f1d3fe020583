"""How do I reach it? HTTP and the command line."""

from api.http.app import create_app
from api.settings.model import Settings, load_settings

__all__ = ["Settings", "create_app", "load_settings"]
