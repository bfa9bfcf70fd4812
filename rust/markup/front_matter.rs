//! The YAML block that opens a Markdown page.

use saphyr::{LoadableYamlNode, Scalar, Yaml};
use serde_json::{Map, Number, Value};

use crate::error::{Error, Result};

/// Longer front matter is no front matter.
const MAXIMUM_BYTES: usize = 256 << 10;
/// Deeper brackets or indentation than this is refused before the parser sees it.
const MAXIMUM_DEPTH: usize = 64;

/// Splits `text` into its front matter and the number of bytes it takes with its fences, 0 where there is none.
///
/// # Errors
/// [`Error::DocumentUnreadable`] when the block is no valid YAML or no mapping.
pub(super) fn split(text: &str) -> Result<(Map<String, Value>, usize)> {
    let Some((yaml, length)) = fenced(text) else { return Ok((Map::new(), 0)) };
    if nesting(yaml) > MAXIMUM_DEPTH {
        return Err(unreadable("it is nested too deeply"));
    }
    let documents = Yaml::load_from_str(yaml).map_err(|error| unreadable(&error.to_string()))?;
    match documents.first().map(value) {
        None | Some(Value::Null) => Ok((Map::new(), length)),
        Some(Value::Object(map)) => Ok((map, length)),
        Some(other) => Err(unreadable(&format!("it is {}, not a mapping", name(&other)))),
    }
}

fn unreadable(reason: &str) -> Error {
    Error::DocumentUnreadable { reason: format!("front matter: {reason}") }
}

/// The lines between a first line `---` and the next `---` or `...`.
fn fenced(text: &str) -> Option<(&str, usize)> {
    let opening = text.split_inclusive('\n').next().filter(|line| line.trim_end() == "---")?.len();
    let mut end = opening;
    for line in text.get(opening..)?.split_inclusive('\n') {
        if matches!(line.trim_end(), "---" | "...") && !line.starts_with([' ', '\t']) {
            return Some((text.get(opening..end)?, end + line.len()));
        }
        end += line.len();
        if end > MAXIMUM_BYTES {
            return None;
        }
    }
    None
}

/// An upper bound of how deep collections lie in one another.
fn nesting(yaml: &str) -> usize {
    let (mut open, mut deepest) = (0usize, 0);
    for byte in yaml.bytes() {
        match byte {
            b'[' | b'{' => open += 1,
            b']' | b'}' => open = open.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(open);
    }
    let indented = yaml.lines().map(|line| line.len() - line.trim_start_matches([' ', '-', '?', ':']).len()).max();
    deepest.max(indented.unwrap_or(0) / 2)
}

fn value(yaml: &Yaml<'_>) -> Value {
    match yaml {
        Yaml::Value(Scalar::Null) | Yaml::Alias(_) | Yaml::BadValue => Value::Null,
        Yaml::Value(Scalar::Boolean(boolean)) => Value::Bool(*boolean),
        Yaml::Value(Scalar::Integer(integer)) => Value::from(*integer),
        Yaml::Value(Scalar::FloatingPoint(float)) => {
            Number::from_f64(float.into_inner()).map_or(Value::Null, Value::Number)
        }
        Yaml::Value(Scalar::String(text)) | Yaml::Representation(text, ..) => Value::String(text.clone().into_owned()),
        Yaml::Sequence(items) => items.iter().map(value).collect(),
        Yaml::Mapping(map) => Value::Object(map.iter().map(|(key, entry)| (key_text(key), value(entry))).collect()),
        Yaml::Tagged(_, inner) => value(inner),
    }
}

fn key_text(key: &Yaml<'_>) -> String {
    match value(key) {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

fn name(value: &Value) -> &'static str {
    match value {
        Value::Array(_) => "a sequence",
        Value::String(_) => "a text",
        _ => "a single value",
    }
}
