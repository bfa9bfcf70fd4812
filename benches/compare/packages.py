"""Which pages: Debian's documentation packages, in the order they are taken until there are pages enough.

The first list is manuals for people, and what figures at 10,000 and 100,000 chunks are taken on. The second is references that
were generated from sources; it is asked for only where the first has too few pages. apt's own configuration says from where
packages come.
"""

from __future__ import annotations

MANUALS = (
    "postgresql-doc-15",
    "git-doc",
    "python3.11-doc",
    "sqlite3-doc",
    "apache2-doc",
    "cmake-doc",
    "python-django-doc",
    "nodejs-doc",
    "libreoffice-help-en-us",
    "gimp-help-en",
    "debian-handbook",
    "debian-reference-en",
    "debian-policy",
    "developers-reference",
    "octave-doc",
    "maxima-doc",
    "postgis-doc",
    "vim-doc",
    "erlang-doc",
    "linux-doc-6.1",
    "qtbase5-doc-html",
    "libboost1.81-doc",
    "python-scipy-doc",
    "python-pandas-doc",
    "python-sklearn-doc",
    "python-sympy-doc",
    "ghc-doc",
    "grass-doc",
)

REFERENCES = (
    "racket-doc",
    "openjdk-17-doc",
    "rust-doc",
    "scala-doc",
    "libgtk-4-doc",
    "libgtkmm-3.0-doc",
    "libstdc++-12-doc",
    "wx3.2-doc",
    "libpcl-doc",
    "libeigen3-doc",
    "groovy-doc",
    "petsc3.18-doc",
    "opencv-doc",
    "trilinos-doc",
    "libdeal.ii-doc",
    "libreoffice-dev-doc",
    "vtk9-doc",
)
