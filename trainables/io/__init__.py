"""Files, here and at a URI."""
