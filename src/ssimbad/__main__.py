"""``python -m ssimbad``."""

from ssimbad.cli import main

if __name__ == "__main__":
    main()
