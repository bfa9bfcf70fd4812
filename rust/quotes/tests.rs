use super::*;
use proptest::prelude::*;

fn found<'a>(quote: &str, text: &'a str) -> Option<&'a str> {
    let run = find(quote, text, Case::Kept)?;
    assert_eq!(
        text.chars().skip(run.characters.start).take(run.characters.len()).collect::<String>(),
        text[run.bytes.clone()]
    );
    Some(&text[run.bytes])
}

#[test]
fn typography_is_folded_and_the_source_comes_back() {
    let text = "Click\u{a0}“Add\u{200b} new”…  It’s\nthe co\u{ad}lour — ﬁnally, cafe\u{301} №\u{a0}5 ½.";
    for (quote, expected) in [
        ("Click \"Add new\"", "Click\u{a0}“Add\u{200b} new”"),
        ("\"Add new\"... It's the colour", "“Add\u{200b} new”…  It’s\nthe co\u{ad}lour"),
        ("  colour - finally ", "co\u{ad}lour — ﬁnally"),
        ("colour – ﬁnally, café", "co\u{ad}lour — ﬁnally, cafe\u{301}"),
        ("No 5", "№\u{a0}5"),
        ("\u{feff}½.", "½."),
    ] {
        assert_eq!(found(quote, text), Some(expected), "{quote}");
    }
}

#[test]
fn quotes_are_of_whole_words() {
    let text = "It performed 12.50, 1,000 at 10:30 in time-off; don't go to example.com. Änderung e\u{301}tude";
    for quote in [
        "form",
        "12",
        "50",
        "1",
        "000",
        "10",
        "don",
        "don'",
        "t go",
        "com",
        "nderung",
        "Ä nderung",
        "tude",
        "exampl",
        "",
    ] {
        assert_eq!(found(quote, text), None, "{quote}");
    }
    for quote in [
        "performed",
        "12.50",
        "1,000 at 10:30",
        "time",
        "off",
        "time-off; don't",
        "example.com",
        "go",
        "Änderung étude",
    ] {
        assert!(found(quote, text).is_some(), "{quote}");
    }
    assert_eq!(found("ein", "einein eine ein").unwrap(), "ein");
    assert_eq!(found("ab ab", "ab abab ab ab"), Some("ab ab"));
    assert_eq!(find("ab ab", "ab abab ab ab", Case::Kept).unwrap().bytes, 8..13);
    assert_eq!(found("wait..", "wait…"), None);
    assert_eq!(found("设置时间", "请设置时间。"), Some("设置时间"));
}

#[test]
fn the_case_counts_unless_it_is_ignored() {
    assert_eq!(find("time tracker", "the Time Tracker page", Case::Kept), None);
    assert_eq!(find("TIME tracker", "the Time Tracker page", Case::Ignored).unwrap().bytes, 4..16);
    assert_eq!(find("ΟΔΟΣ", "η οδος", Case::Ignored).unwrap().characters, 2..6);
    assert_eq!(find("istanbul", "İSTANBUL", Case::Ignored), None);
}

#[test]
fn an_altered_quote_has_its_closest_run() {
    let text =
        "First open the page. Then click Settings, and choose the workspace you want to delete. It cannot be undone.";
    let closest = closest("Click settings and choose a workspace you wish to delete", text).unwrap();
    assert_eq!(&text[closest.run.bytes], "click Settings, and choose the workspace you want to delete");
    assert!((closest.similarity - 0.8).abs() < 1e-6, "{}", closest.similarity);
    assert_eq!(super::closest("entirely other words", text), None);
    assert_eq!(super::closest("…", text), None);
    let whole = super::closest("THE PAGE then", text).unwrap();
    assert_eq!((&text[whole.run.bytes], whole.similarity.to_bits()), ("the page. Then", 1f32.to_bits()));
}

#[test]
fn a_long_quote_has_no_closest_run() {
    let words = "word ".repeat(MAX_CLOSEST_WORDS + 1);
    assert_eq!(super::closest(&words, &words), None);
    assert!(super::closest(&words[5..], &words).is_some());
}

#[test]
fn a_quote_is_worded_as_it_may_stand_in_its_source() {
    let worded = |quote: &str| wordings(quote);
    let own = |text: &str, left: Option<char>| (text.to_owned(), left);
    assert_eq!(
        worded("open **the** `page`,"),
        [
            own("open **the** `page`,", None),
            own("open the page,", None),
            own("open the page", Some(',')),
            own("Open **the** `page`,", None),
            own("Open the page,", None),
            own("Open the page", Some(',')),
        ]
    );
    assert_eq!(
        worded("3 * 4 a_b _c_ …?"),
        [own("3 * 4 a_b _c_ …?", None), own("3 * 4 a_b c …?", None), own("3 * 4 a_b c", Some('…')),]
    );
    assert_eq!(worded("ß"), [own("ß", None), own("SS", None)]);
    assert_eq!(worded("..."), [own("...", None)]);
    assert_eq!(worded(""), []);
}

/// What a typist, a browser or a model might put for the same character.
fn disguise(character: char, choice: u8) -> String {
    let forms: &[&str] = match character {
        ' ' => &[" ", "\n", "\u{a0}", "  \t", "\u{2009}"],
        '\'' => &["'", "’", "‘", "′"],
        '"' => &["\"", "“", "”", "«"],
        '-' => &["-", "–", "—", "\u{2011}", "−"],
        'é' => &["é", "e\u{301}"],
        'f' => &["f", "ｆ", "f\u{ad}", "\u{200b}f"],
        _ => return character.to_string(),
    };
    forms[usize::from(choice) % forms.len()].to_owned()
}

fn disguised(text: &str, choices: &[u8]) -> String {
    text.chars().zip(choices.iter().cycle()).map(|(character, &choice)| disguise(character, choice)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn changed_typography_is_still_found(
        words in prop::collection::vec("[a-zé]{1,6}['\"-]?", 3..40), from in 0usize..30, count in 1usize..20,
        left in prop::collection::vec(any::<u8>(), 1..50), right in prop::collection::vec(any::<u8>(), 1..50),
    ) {
        let from = from.min(words.len() - 1);
        let to = (from + count).min(words.len());
        let quote = words[from..to].join(" ");
        let (text, written) = (disguised(&words.join(" "), &left), disguised(&quote, &right));
        let run = find(&written, &text, Case::Kept);
        prop_assert!(run.is_some(), "{written:?} in {text:?}");
        let bytes = run.unwrap().bytes;
        prop_assert_eq!(folded(&text[bytes], Case::Kept), folded(&quote, Case::Kept));
    }

    #[test]
    fn without_case_is_folded_as_from_the_source(text in "[aZéÉİΣσς ½ﬁ\u{301}\u{ad}\u{a0}\r\n\u{1F1E6}”-]{0,40}|.{0,40}") {
        // Naive: each cluster is folded for itself, and white space is collapsed afterwards.
        let mut expected: Vec<(char, Range<usize>)> = Vec::new();
        for (start, cluster) in text.grapheme_indices(true) {
            let folded = cluster.chars().filter_map(plain).nfkc().filter_map(plain).collect::<String>();
            for character in folded.chars() {
                let character = if character.is_whitespace() { ' ' } else { character };
                match expected.last_mut() {
                    Some((' ', range)) if character == ' ' => range.end = start + cluster.len(),
                    _ => expected.push((character, start..start + cluster.len())),
                }
            }
        }
        expected.drain(..usize::from(expected.first().is_some_and(|(character, _)| *character == ' ')));
        expected.truncate(expected.len() - usize::from(expected.last().is_some_and(|(character, _)| *character == ' ')));
        let kept = Folded::new(&text, Case::Kept);
        prop_assert_eq!(&kept.text, &expected.iter().map(|(character, _)| *character).collect::<String>());
        for (at, (_, range)) in kept.text.char_indices().map(|(at, _)| at).zip(&expected) {
            let source = kept.source(at..at + 1).unwrap();
            prop_assert!(range.start <= source.start && source.end <= range.end, "{source:?} {range:?}");
        }
        let ignored = kept.without_case();
        let lower = |text: &str| text.chars().flat_map(char::to_lowercase).map(|c| if c == 'ς' { 'σ' } else { c }).collect::<String>();
        prop_assert_eq!(&ignored.text, &lower(&kept.text));
        prop_assert_eq!(ignored.origin.starts.len(), ignored.text.len());
    }

    #[test]
    fn a_quote_is_found_where_its_words_are(
        words in prop::collection::vec("[ab]{1,3}", 1..30), quote in prop::collection::vec("[ab]{1,3}", 1..4),
    ) {
        let text = words.join(" ");
        let position = words.windows(quote.len()).position(|window| window == quote);
        let expected = position.map(|position| words[..position].iter().map(|word| word.len() + 1).sum::<usize>());
        prop_assert_eq!(find(&quote.join(" "), &text, Case::Kept).map(|run| run.bytes.start), expected);
    }

    #[test]
    fn a_changed_word_is_not_found(
        words in prop::collection::vec("[a-p0-9]{2,8}", 3..30), at in any::<prop::sample::Index>(), kind in 0u8..3,
    ) {
        let text = words.join(" ");
        let positions: Vec<usize> = text.char_indices().filter(|(_, c)| *c != ' ').map(|(at, _)| at).collect();
        let at = positions[at.index(positions.len())];
        let mut changed = text.clone();
        match kind {
            0 => changed.replace_range(at..=at, "z"),
            1 => changed.insert(at, 'z'),
            _ => { changed.remove(at); }
        }
        prop_assert_eq!(find(&changed, &format!("{text} {text}"), Case::Ignored), None);
    }

    #[test]
    fn anything_may_be_asked(quote in "\\PC{0,30}", text in "\\PC{0,60}", odd in ".{0,40}") {
        for (quote, text) in [(&quote, &text), (&text, &quote), (&odd, &text), (&text, &odd), (&text, &text)] {
            for case in [Case::Kept, Case::Ignored] {
                if let Some(run) = find(quote, text, case) {
                    prop_assert_eq!(folded(&text[run.bytes], case), folded(quote, case));
                }
            }
            if let Some(closest) = closest(quote, text) {
                prop_assert!(closest.similarity > 0.0 && closest.similarity <= 1.0 && !text[closest.run.bytes].is_empty());
            }
        }
    }

    #[test]
    fn words_taken_out_leave_the_run_closest(
        words in prop::collection::hash_set("[a-p]{4,9}", 12..60), from in 0usize..40, drop in prop::collection::vec(1usize..7, 0..2),
    ) {
        let words: Vec<String> = words.into_iter().collect();
        let from = from.min(words.len() - 9);
        let run = &words[from..from + 9];
        let kept: Vec<&str> = run.iter().enumerate().filter(|(at, _)| !drop.contains(at)).map(|(_, word)| word.as_str()).collect();
        let text = words.join(" ");
        let closest = closest(&kept.join(" "), &text).unwrap();
        prop_assert_eq!(&text[closest.run.bytes], run.join(" "));
        prop_assert!((closest.similarity - 2.0 * kept.len() as f32 / (kept.len() + 9) as f32).abs() < 1e-6);
    }
}
