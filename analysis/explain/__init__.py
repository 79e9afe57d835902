"""Why a bundle gives an image its class."""
