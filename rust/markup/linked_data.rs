//! What a page tells machines about itself in `application/ld+json`: here only whether it is a page of questions, and which.
//!
//! Nothing of it becomes text. A reader does not see it, so it may only say what the visible blocks are.

use rustc_hash::FxHashSet;
use serde_json::Value;

/// Longer linked data is passed over.
const MAXIMUM_BYTES: usize = 1 << 20;

/// The questions of a page that says it is a page of questions, folded by `fold`; `None` where it does not say so.
pub(super) fn questions(scripts: &[String], fold: impl Fn(&str) -> String) -> Option<FxHashSet<String>> {
    let mut found: Option<FxHashSet<String>> = None;
    for script in scripts.iter().filter(|script| script.len() <= MAXIMUM_BYTES) {
        let Ok(value) = serde_json::from_str::<Value>(script) else { continue };
        for page in things(&value).into_iter().filter(|thing| is(thing, "FAQPage")) {
            let names = found.get_or_insert_default();
            let entities = page.get("mainEntity").map(things).unwrap_or_default();
            let named = entities.into_iter().filter(|thing| is(thing, "Question"));
            names.extend(named.filter_map(|question| question.get("name")?.as_str()).map(&fold));
        }
    }
    if let Some(names) = &mut found {
        names.remove("");
    }
    found
}

/// The things that a value names side by side: itself, the members of a list, those of its `@graph`.
fn things(value: &Value) -> Vec<&Value> {
    let mut things = Vec::new();
    let mut waiting = vec![value];
    while let Some(value) = waiting.pop() {
        match value {
            Value::Array(members) => waiting.extend(members.iter().rev()),
            Value::Object(members) => {
                things.push(value);
                waiting.extend(members.get("@graph"));
            }
            _ => {}
        }
    }
    things
}

fn is(thing: &Value, wanted: &str) -> bool {
    match thing.get("@type") {
        Some(Value::String(name)) => name == wanted,
        Some(Value::Array(names)) => names.iter().any(|name| name.as_str() == Some(wanted)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(script: &str) -> Option<Vec<String>> {
        let mut names: Vec<String> = questions(&[script.to_owned()], str::to_lowercase)?.into_iter().collect();
        names.sort();
        Some(names)
    }

    #[test]
    fn questions_are_found_wherever_the_page_is_named() {
        let page = r#"{"@type": ["WebPage", "FAQPage"], "mainEntity": [
            {"@type": "Question", "name": "Why?"}, {"@type": "Answer", "name": "No"}, {"@type": "Question"}]}"#;
        for script in [page.to_owned(), format!("[1, {page}]"), format!(r#"{{"@graph": [{{}}, {page}]}}"#)] {
            assert_eq!(names(&script), Some(vec!["why?".to_owned()]), "{script}");
        }
        let one = r#"{"@type": "FAQPage", "mainEntity": {"@type": "Question", "name": "One?"}}"#;
        assert_eq!(names(one), Some(vec!["one?".to_owned()]));
        assert_eq!(names(r#"{"@type": "FAQPage"}"#), Some(vec![]));
    }

    #[test]
    fn what_says_nothing_or_too_much_is_passed_over() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let long = format!(r#"{{"@type": "FAQPage", "x": "{}"}}"#, "x".repeat(MAXIMUM_BYTES));
        for script in ["", "{", "null", r#"{"@type": "Article"}"#, deep.as_str(), long.as_str()] {
            assert_eq!(names(script), None);
        }
    }
}
