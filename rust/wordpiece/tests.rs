use std::collections::HashMap;
use std::path::PathBuf;

use proptest::prelude::*;
use unicode_normalization::UnicodeNormalization;

use super::*;

const HEAD: &str = r###"{"normalizer":{"type":"BertNormalizer","clean_text":true,"handle_chinese_chars":true,"strip_accents":null,
    "lowercase":true},"pre_tokenizer":{"type":"BertPreTokenizer"},"truncation":{"max_length":2},"added_tokens":[
    {"id":0,"content":"[PAD]","special":true,"normalized":false},{"id":1,"content":"[UNK]","special":true}],"model":{"type":
    "WordPiece","unk_token":"[UNK]","continuing_subword_prefix":"##","max_input_chars_per_word":9,"vocab":"###;

const TOKENS: &[&str] = &[
    "[PAD]",
    "[UNK]",
    ".",
    "\"",
    "#",
    "[",
    "]",
    "a",
    "##a",
    "b",
    "##b",
    "c",
    "ab",
    "##ab",
    "abc",
    "##bc",
    "##c",
    "ba",
    "1",
    "##1",
    "é",
    "東",
    "п",
    "##п",
    "па",
    "##\u{11a8}",
    "ss",
    "##s",
];

fn small() -> WordPiece {
    let vocabulary: Vec<String> = TOKENS.iter().enumerate().map(|(id, token)| format!("{token:?}:{id}")).collect();
    WordPiece::parse(&format!("{HEAD}{{{}}}}}}}", vocabulary.join(","))).unwrap()
}

/// The algorithm as the paper tells it, over whole strings.
fn naive(text: &str) -> Vec<u32> {
    let vocabulary: HashMap<&str, u32> = TOKENS.iter().zip(0..).map(|(token, id)| (*token, id)).collect();
    let mut ids = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("[PAD]").into_iter().chain(rest.find("[UNK]")).min() {
        naive_text(&rest[..at], &vocabulary, &mut ids);
        ids.push(u32::from(rest[at..].starts_with("[UNK]")));
        rest = &rest[at + 5..];
    }
    naive_text(rest, &vocabulary, &mut ids);
    ids
}

fn naive_text(text: &str, vocabulary: &HashMap<&str, u32>, ids: &mut Vec<u32>) {
    let cleaned: String = text.chars().filter(|&c| !contains(REMOVED, c)).collect();
    let spaced: String =
        cleaned.chars().flat_map(|c| if contains(IDEOGRAPHS, c) { vec![' ', c, ' '] } else { vec![c] }).collect();
    let lowered: String = spaced.nfd().filter(|&c| !contains(MARKS, c)).flat_map(char::to_lowercase).collect();
    let parted: String =
        lowered.chars().flat_map(|c| if is_punctuation(c) { vec![' ', c, ' '] } else { vec![c] }).collect();
    for word in parted.split_whitespace() {
        let characters: Vec<char> = word.chars().collect();
        let (mut found, mut start) = (Vec::new(), 0);
        while start < characters.len() && characters.len() <= 9 {
            let prefix = if start == 0 { "" } else { "##" };
            let longest = (start + 1..=characters.len()).rev().find_map(|end| {
                let piece = format!("{prefix}{}", characters[start..end].iter().collect::<String>());
                vocabulary.get(piece.as_str()).map(|&id| (id, end))
            });
            let Some((id, end)) = longest else { break };
            found.push(id);
            start = end;
        }
        if start == characters.len() { ids.append(&mut found) } else { ids.push(1) }
    }
}

fn encode(wordpiece: &WordPiece, text: &str) -> Vec<u32> {
    let mut ids = Vec::new();
    wordpiece.encode(text, &mut ids);
    ids
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(800))]

    #[test]
    fn equals_the_algorithm_of_the_paper(text in prop_oneof![
        "[abcABC1sSé. \n\"#]{0,30}",
        "([abc]{1,11}|\\[PAD\\]|\\[UNK\\]|\\[|東|Па|\u{301}|\u{0}|\u{ad}|\u{a0}|각|ß|é| |\\.){0,12}",
        "\\PC{0,20}",
    ]) {
        let wordpiece = small();
        let ids = encode(&wordpiece, &text);
        prop_assert_eq!(&ids, &naive(&text));
        prop_assert_eq!(wordpiece.count(&text), ids.len());
        let mut ends = Vec::new();
        wordpiece.ends(&text, &mut ends);
        prop_assert_eq!(ends.len(), ids.len());
        prop_assert!(ends.is_sorted());
        prop_assert!(ends.iter().all(|&end| text.is_char_boundary(end as usize) && end > 0));
    }

    #[test]
    fn a_cut_between_words_changes_nothing(words in prop::collection::vec("[abcé東.1\u{301}]{1,8}", 0..8)) {
        let wordpiece = small();
        let apart: Vec<u32> = words.iter().flat_map(|word| encode(&wordpiece, word)).collect();
        prop_assert_eq!(encode(&wordpiece, &words.join(" ")), apart);
    }
}

#[test]
fn ends_are_those_of_the_original() {
    let mut ends = Vec::new();
    small().ends("abc  Aba\u{301} x東.[PAD]", &mut ends);
    assert_eq!(ends, [3, 7, 10, 12, 15, 16, 21]);
}

#[test]
fn what_is_not_such_a_tokenizer_is_refused() {
    let vocabulary = r#"{"[UNK]":0,"a":1}}}"#;
    for (from, to) in [
        ("BertNormalizer", "Lowercase"),
        ("BertPreTokenizer", "Whitespace"),
        ("\"##\"", "\"\""),
        ("\"unk_token\":\"[UNK]\"", "\"unk_token\":\"<unk>\""),
        ("\"id\":0", "\"id\":4000000000"),
        ("[PAD]", "PAD"),
        ("\"max_input_chars_per_word\":9", "\"max_input_chars_per_word\":-9"),
    ] {
        let good = format!("{HEAD}{vocabulary}");
        assert!(WordPiece::parse(&good).is_ok());
        assert!(good.contains(from), "{from}");
        assert!(WordPiece::parse(&good.replace(from, to)).is_err(), "{to}");
    }
    assert!(matches!(WordPiece::open(Path::new("no/tokenizer.json")), Err(Error::ModelInvalid { .. })));
}

#[derive(serde::Deserialize)]
struct Golden {
    text: String,
    ids: Vec<u32>,
    ends: Vec<usize>,
}

#[test]
fn equals_the_reference_on_the_golden_texts() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let shipped = root.join("python/clockify_rag/models/docs-static-256-int8");
    let wordpiece = WordPiece::open(&shipped.join("tokenizer.json")).unwrap();
    let path = root.join("tests/golden/wordpiece.json");
    let golden: Vec<Golden> = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert!(golden.len() >= 20);
    for Golden { text, ids, ends } in golden {
        assert_eq!(encode(&wordpiece, &text), ids, "{text:?}");
        let mut found = Vec::new();
        wordpiece.ends(&text, &mut found);
        // The reference leaves dropped characters outside of tokens; here they belong to the one before.
        let points: Vec<usize> = found
            .iter()
            .map(|&end| {
                text[..end as usize].trim_end_matches(|c| contains(REMOVED, c) || contains(MARKS, c)).chars().count()
            })
            .collect();
        assert_eq!(points, ends, "{text:?}");
    }
}
