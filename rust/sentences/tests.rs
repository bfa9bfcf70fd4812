use super::*;
use proptest::prelude::*;

fn cut(text: &str) -> Vec<&str> {
    units(text).into_iter().map(|unit| &text[unit]).collect()
}

#[test]
fn sentences_end_where_they_end() {
    for (text, expected) in [
        ("Open it. Press Save.", vec!["Open it.", "Press Save."]),
        ("See e.g. the docs. Done!", vec!["See e.g. the docs.", "Done!"]),
        ("1. Open Settings. Press Save.\n2. Wait", vec!["1. Open Settings.", "Press Save.", "2. Wait"]),
        ("It said “Done.” Then it stopped.", vec!["It said “Done.”", "Then it stopped."]),
        ("Ask J. Smith about it… or not.", vec!["Ask J. Smith about it… or not."]),
        ("保存します。次へ！終わり", vec!["保存します。", "次へ！", "終わり"]),
        ("Really?! Yes.Not here", vec!["Really?!", "Yes.Not here"]),
        ("...", vec!["..."]),
        ("", vec![]),
    ] {
        assert_eq!(cut(text), expected, "{text}");
    }
}

#[test]
fn a_run_lies_in_the_sentence_that_has_most_of_it() {
    let text = "Title\nOne here. Two there.\nThree";
    let of = |run: &str| {
        let start = text.find(run).unwrap();
        &text[around(text, start..start + run.len())]
    };
    assert_eq!(of("One"), "One here.");
    assert_eq!(of("here. Two there"), "Two there.");
    assert_eq!(of("ere. Two"), "One here.");
    assert_eq!(of("Title\nOne here"), "One here.");
    assert_eq!(around(" \n ", 0..1), 0..1);
}

/// Whether a line is cut behind a place, by looking at all of it each time.
fn is_cut(line: &[char], begin: usize, at: usize) -> bool {
    let marks = ['.', '!', '?', '…'];
    let closing = ['"', '\'', '”', '’', '»', ')', ']'];
    if at == 0 || at >= line.len() || !line[at].is_whitespace() {
        return false;
    }
    let closed = line[..at].iter().rposition(|c| !closing.contains(c)).map_or(0, |last| last + 1);
    let first = line[..closed].iter().rposition(|c| !marks.contains(c)).map_or(0, |last| last + 1);
    if first == closed {
        return false;
    }
    let next = line[at..].iter().find(|c| !c.is_whitespace());
    if next.is_some_and(|c| c.is_lowercase()) {
        return false;
    }
    let before: String = line[begin..first].iter().collect();
    let word = before.split_whitespace().last().unwrap_or_default().trim_start_matches(['(', '"', '“']).to_lowercase();
    line[first] != '.'
        || !(ABBREVIATIONS.contains(&word.as_str())
            || word.chars().count() == 1 && word.chars().all(char::is_alphabetic))
}

#[test]
fn items_begin_with_their_number_or_mark() {
    for (line, text) in [("1. a", 3), ("12) a", 4), ("a) b", 3), ("  - c", 4), ("• d", 4), ("١. e", 4)] {
        assert_eq!(item(line, &(0..line.len())), Some(text), "{line}");
    }
    for line in ["1.a", "1234. a", "A. b", "-", "ab) c", "1 a", ""] {
        assert_eq!(item(line, &(0..line.len())), None, "{line}");
    }
}

#[test]
fn words_are_counted_in_any_script() {
    assert_eq!([word_count("two  words\n"), word_count("two words 設定方"), word_count("")], [2, 4, 0]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn units_are_what_looking_at_every_place_finds(text in "([aBé.!?… \n“”\")(]|no|e\\.g){0,30}") {
        let mut expected: Vec<String> = Vec::new();
        for line in text.split('\n') {
            // A line that begins as an item does is cut behind its mark only, which the next property has.
            let line: Vec<char> = line.chars().collect();
            if item(&line.iter().collect::<String>(), &(0..line.iter().map(|c| c.len_utf8()).sum())).is_some() {
                return Ok(());
            }
            let mut begin = 0;
            for at in 1..=line.len() {
                if at == line.len() || is_cut(&line, begin, at) {
                    expected.push(line[begin..at].iter().collect::<String>().trim().to_owned());
                    begin = at;
                }
            }
        }
        expected.retain(|unit| !unit.is_empty());
        prop_assert_eq!(cut(&text), expected);
    }

    #[test]
    fn nothing_visible_is_left_out(text in "[aB1.!?。 \n“”•é)-]{0,60}|.{0,40}") {
        let visible = |text: &str| text.chars().filter(|c| !is_space(*c)).collect::<String>();
        for found in [units(&text), lines(&text), blocks(&text)] {
            prop_assert!(found.is_sorted_by(|one, next| one.end <= next.start));
            let pieces: Vec<&str> = found.iter().map(|range| &text[range.clone()]).collect();
            prop_assert_eq!(visible(&pieces.concat()), visible(&text));
            prop_assert!(pieces.iter().all(|piece| !piece.is_empty() && piece.trim_matches(is_space) == *piece));
        }
        prop_assert!(units(&text).iter().all(|unit| !text[unit.clone()].contains('\n')));
    }
}

#[test]
fn digits_are_decimal() {
    assert!("09\u{660}\u{6F9}\u{96F}\u{FF11}".chars().all(is_digit));
    assert!(!"a\u{B2}\u{BD}\u{2460}\u{2167}\u{661F}".chars().any(is_digit));
}
