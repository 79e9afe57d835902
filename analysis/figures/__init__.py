"""Pictures."""

import logging

# which warns of a home that cannot be written
logging.getLogger("matplotlib").setLevel(logging.ERROR)
