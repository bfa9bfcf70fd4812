//! Markdown and HTML to canonical text and blocks with anchors.
