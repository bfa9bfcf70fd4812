//! All of pyo3.
