"""``python -m api.cli``: the ``whyrank`` command of this environment."""

from api.cli import main

main()
