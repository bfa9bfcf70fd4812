//! Places that a test may let the process die or fail at, by name.
//!
//! They are there with the cargo feature `failpoints` alone, which no wheel is built with; without it the macro is nothing. The
//! environment's `FAILPOINT` then names one: `name` ends the process there, `name=fail` makes the work fail there.

/// Marks a place in a function that returns [`crate::error::Result`].
macro_rules! failpoint {
    ($name:literal) => {
        #[cfg(feature = "failpoints")]
        $crate::failpoints::reach($name)?;
    };
}

/// Dies or fails where the environment says so.
#[cfg(feature = "failpoints")]
pub(crate) fn reach(name: &'static str) -> crate::error::Result<()> {
    match std::env::var("FAILPOINT").ok().as_deref().and_then(|wanted| wanted.strip_prefix(name)) {
        Some("") => std::process::abort(),
        Some("=fail") => Err(crate::error::Error::io("reach", name)(std::io::Error::other("a test lets it fail"))),
        _ => Ok(()),
    }
}
