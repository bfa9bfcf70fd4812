"""``python -m clockify_rag`` is the command ``clockify-rag``."""

from clockify_rag.cli import main

if __name__ == "__main__":
    main()
