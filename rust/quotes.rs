//! Find a quote in a text after folding; the source's own characters come back.
