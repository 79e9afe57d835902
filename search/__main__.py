"""``python -m search`` is ``visiontune``."""

from search.cli import main

if __name__ == "__main__":
    main()
