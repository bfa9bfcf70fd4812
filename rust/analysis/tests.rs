use proptest::prelude::*;

use super::*;

type Row = (String, u32, u32, u32);

fn rows(text: &str, language: Language) -> Vec<Row> {
    rows_by(&mut Analyzer::new(language), text)
}

fn rows_by(analyzer: &mut Analyzer, text: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    analyzer.analyze(text, |token| rows.push((token.term.to_owned(), token.start, token.end, token.position)));
    rows
}

fn terms(text: &str, language: Language) -> Vec<String> {
    rows(text, language).into_iter().map(|row| row.0).collect()
}

fn english(text: &str) -> Vec<String> {
    terms(text, Language::English)
}

#[test]
fn words_are_folded_stemmed_and_stopped() {
    assert_eq!(english("The Reports are EXPORTED by users"), ["report", "export", "user"]);
    assert_eq!(
        rows("The reports", Language::English),
        [("report".to_owned(), 4, 11, 1)],
        "a stop word leaves its position"
    );
    assert_eq!(terms("Die Berichte werden exportiert", Language::German), ["bericht", "exportiert"]);
    assert_eq!(terms("reports", Language::Unknown), ["reports"]);
}

#[test]
fn identifiers_are_whole_and_in_parts() {
    assert_eq!(english("time-off"), ["time-off", "time", "off"]);
    assert_eq!(english("api_key"), ["api_key", "api", "key"]);
    assert_eq!(english("v1.2"), ["v1.2", "v", "1.2"]);
    assert_eq!(english("SAML2.0"), ["saml2.0", "saml", "2.0"]);
    assert_eq!(english("getUserById"), ["getuserbyid", "get", "user", "id"]);
    assert_eq!(english("HTTPServer"), ["httpserver", "http", "server"]);
    assert_eq!(english("node.js"), ["node.js", "node", "js"]);
    assert_eq!(english("__init__ _really_"), ["init", "realli"]);
    assert_eq!(english("APIs IDs"), ["api", "id"]);
    assert_eq!(english("2024-05-01"), ["2024-05-01", "2024", "05", "01"]);
    assert!(rows("time-off", Language::English).iter().all(|row| row.3 == 0), "one position");
    assert_eq!(rows("my time-off", Language::English)[2], ("off".to_owned(), 8, 11, 1));
}

#[test]
fn a_hyphenated_word_meets_its_two_words() {
    for (joined, apart) in
        [("time-off", "time off"), ("sign-ups", "sign ups"), ("QuickBooks", "quickbooks"), ("SAML2.0", "SAML 2.0")]
    {
        let joined = english(joined);
        assert!(english(apart).iter().all(|term| joined.contains(term)), "{joined:?} {apart}");
    }
}

#[test]
fn negations_are_one_term() {
    for text in ["can not export", "cannot export", "can't export", "can\u{2019}t export", "doesn't export"] {
        assert_eq!(english(text), ["not", "export"], "{text}");
    }
}

#[test]
fn possessives_and_elisions() {
    assert_eq!(english("the user's reports"), ["user", "report"]);
    assert_eq!(
        rows("l'utilisateur", Language::French).first().map(|row| (row.1, row.2)),
        Some((2, 13)),
        "the article is not part of the word"
    );
    assert_eq!(terms("l\u{2019}utilisateur", Language::French), terms("utilisateur", Language::French));
    assert_eq!(terms("qu'une", Language::French), Vec::<String>::new());
}

#[test]
fn accents_stand_beside() {
    assert_eq!(terms("Café", Language::Unknown), ["café", "cafe"]);
    assert_eq!(terms("Cafe\u{301}", Language::Unknown), ["café", "cafe"]);
    assert_eq!(rows("café x", Language::Unknown)[1], ("cafe".to_owned(), 0, 5, 0));
    assert_eq!(terms("STRASSE Straße", Language::Unknown), ["strasse", "strasse"]);
    assert_eq!(terms("отчёт", Language::Unknown), ["отчёт", "отчет"]);
    assert_eq!(terms("мой", Language::Unknown), ["мой"]);
    assert_eq!(terms("ILIK İyi", Language::Turkish).first().map(String::as_str), Some("ılık"));
}

#[test]
fn compatibility_forms_and_their_offsets() {
    assert_eq!(
        rows("a ﬁnal ＡＢＣ", Language::Unknown)[1..],
        [("final".to_owned(), 2, 8, 1), ("abc".to_owned(), 9, 18, 2)]
    );
    assert_eq!(terms("soft\u{ad}hyphen x\u{200b}", Language::Unknown), ["softhyphen", "x"]);
    assert_eq!(terms("１００％", Language::Unknown), ["100"]);
}

#[test]
fn unspaced_scripts_are_bigrams() {
    assert_eq!(terms("東京都", Language::Unknown), ["東京", "京都"]);
    assert_eq!(terms("京", Language::Unknown), ["京"]);
    assert_eq!(
        rows("API東京都", Language::Unknown),
        [("api".to_owned(), 0, 3, 0), ("東京".to_owned(), 3, 9, 1), ("京都".to_owned(), 6, 12, 2)]
    );
    assert_eq!(terms("時間、記録", Language::Unknown), ["時間", "記録"]);
    assert_eq!(terms("Πώς Пароль", Language::Unknown), ["πώς", "πωσ", "пароль"].map(|t| t.replace("ώς", "ώσ")));
}

#[test]
fn numbers_stay_and_signs_go() {
    assert_eq!(english("1,000 rows"), ["1,000", "1000", "row"]);
    assert_eq!(english("3.14 1,2"), ["3.14", "1,2"]);
    assert_eq!(english("🙂 \u{0}\u{7} -- ... ,,, '"), Vec::<String>::new());
    assert_eq!(english("(10:30) C++ end.Next").len(), 6);
}

#[test]
fn long_words_yield_no_term_but_a_position() {
    let blob = "x".repeat(5000);
    assert_eq!(
        rows(&format!("{blob} y7"), Language::English),
        [("y7".to_owned(), 5001, 5003, 1), ("y".to_owned(), 5001, 5002, 1), ("7".to_owned(), 5002, 5003, 1)]
    );
    let chain = vec!["ab"; 40].join("-");
    assert_eq!(rows(&chain, Language::English).last().map(|row| row.3), Some(39));
}

#[test]
fn questions_have_stems_and_words() {
    assert_eq!(question_terms("How do I export reports?", Language::English), ["export", "report", "reports"]);
    assert_eq!(question_terms("export export", Language::English), ["export"]);
    assert_eq!(question_terms("What is it?", Language::English), ["what", "is", "it"]);
    assert_eq!(question_terms("", Language::English), Vec::<String>::new());
    assert_eq!(question_terms("🙂", Language::English), Vec::<String>::new());
}

#[test]
fn the_fingerprint_covers_ten_thousand_tokens() {
    let (fingerprint, tokens) = fingerprint_of(Language::ALL);
    assert!(tokens >= 10_000, "{tokens}");
    assert_eq!(fingerprint.len(), 32);
    assert_eq!(super::fingerprint(), fingerprint);
    assert_eq!(FINGERPRINT, fingerprint, "searches compare with this: write down the new one");
    assert_ne!(fingerprint_of(&[Language::English]).0, fingerprint);
}

fn language() -> impl Strategy<Value = Language> {
    prop::sample::select([&[Language::Unknown], Language::ALL].concat())
}

/// Text as pages have it and as they should not: words, identifiers, accents, all scripts, signs, anything.
fn text() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        4 => "[a-zA-Z]{1,9}",
        1 => "[A-Z]?[a-z]{1,6}([A-Z][a-z0-9]{0,5}){0,3}",
        1 => "[a-z0-9]{1,4}([-_.,'][a-z0-9A-Z]{1,4}){0,4}",
        1 => "[0-9]{1,5}([.,][0-9]{1,3}){0,2}",
        1 => "[a-zà-žА-яёα-ωάςßİı]{1,8}",
        1 => "[ぁ-んァ-ヶ一-丂가-힣ก-๎ﾀ-ﾟ]{1,5}",
        1 => "[\u{300}\u{301}\u{ad}\u{200d}\u{fe0f}’‑％①½ﬁＡ-Ｚ'._,-]{1,4}",
        1 => "\\PC{0,6}",
        1 => prop::sample::select(vec!["the", "can't", "don’t", "l'eau", "we're", "ﬁ-ﬁ", "🙂", "\0", "\u{2028}"]).prop_map(str::to_owned),
    ];
    let gap = prop::sample::select(vec![" ", "\n", "", ", ", ".", "-", "—", "/", "\u{a0}"]);
    prop::collection::vec((word, gap), 0..24)
        .prop_map(|pairs| pairs.into_iter().map(|(word, gap)| word + gap).collect())
}

/// The analyser without its memory and without the way for plain words: piece by piece through every rule.
fn slowly(text: &str, language: Language) -> Vec<Row> {
    let rules = Rules::new(language, Mode::Index);
    let (mut scratch, mut rows, mut position) = (Scratch::default(), Vec::new(), 0);
    for (start, piece) in pieces(text) {
        let mut found = Terms::default();
        let mut normal = Normal::default();
        normal.set(piece);
        for (at, inner) in pieces(&normal.text) {
            rules.analyze_normal(at, at + inner.len(), &normal, &mut scratch, &mut found);
        }
        let start = start as u32;
        rows.extend(found.iter().map(|t| (t.term.to_owned(), t.start + start, t.end + start, t.position + position)));
        position += found.positions;
    }
    rows
}

/// Unicode's words of the whole text after normalisation, with the signs that this module cuts at made spaces.
fn naive_words(text: &str) -> Vec<String> {
    let normal: String = text.nfkc().map(plain_sign).collect();
    let spaced: String = normal.chars().map(|c| if c.is_ascii() && !IN_PIECE[c as usize] { ' ' } else { c }).collect();
    spaced.unicode_words().map(str::to_owned).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn the_fast_way_equals_the_slow_way(texts in prop::collection::vec(text(), 1..4), language in language()) {
        let mut analyzer = Analyzer::new(language);
        for text in texts.iter().chain(&texts) {
            prop_assert_eq!(rows_by(&mut analyzer, text), slowly(text, language));
        }
    }

    #[test]
    fn offsets_are_those_of_the_original(text in text(), language in language()) {
        let marked = text.chars().zip(text.chars().skip(1)).any(|(sign, mark)| !sign.is_alphanumeric() && is_combining_mark(mark));
        let mut last = (0, 0);
        for (term, start, end, position) in rows(&text, language) {
            prop_assert!((position, start) >= last, "order");
            last = (position, start);
            let slice = text.get(start as usize..end as usize);
            prop_assert!(slice.is_some(), "borders of characters");
            let slice = slice.unwrap_or_default();
            // A border may run through a compatibility form, such as the ligature of i and j.
            if !marked && slice.nfkc().eq(slice.nfc()) {
                prop_assert!(terms(slice, language).contains(&term), "{:?} does not give {:?}", slice, term);
            }
        }
    }

    #[test]
    fn normalisation_in_units_is_that_of_the_whole(text in "\\PC{0,12}|[가-힣ᄀ-ᇿ\u{300}-\u{36f}a-zﾀ-ﾟ\u{3099}\u{309a}か-ほ]{0,12}") {
        let mut normal = Normal::default();
        normal.set(&text);
        prop_assert_eq!(normal.text, text.nfkc().map(plain_sign).collect::<String>());
    }

    #[test]
    fn words_are_unicodes(text in "[a-zA-Zà-ÿα-ωА-я0-9 ',.;:()\"_—]{0,40}") {
        let expected = naive_words(&text);
        let mut words = Vec::new();
        for (_, piece) in pieces(&text) {
            let normal: String = piece.nfkc().map(plain_sign).collect();
            for (_, inner) in pieces(&normal) {
                words.extend(inner.unicode_words().map(str::to_owned));
            }
        }
        let trim = |words: Vec<String>| words.iter().map(|w| w.trim_matches('_').to_owned()).collect::<Vec<_>>();
        prop_assert_eq!(trim(words), trim(expected));
    }

    #[test]
    fn question_terms_find_what_was_indexed(text in text(), language in language()) {
        let indexed = terms(&text, language);
        let asked = question_terms(&text, language);
        for term in &indexed {
            prop_assert!(asked.contains(term), "{} is not asked for", term);
        }
    }

    #[test]
    fn detection_is_total(text in text(), language in language()) {
        prop_assert_eq!(detect_language(&text, language), detect_language(&text, language));
    }
}
