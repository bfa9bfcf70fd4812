use super::*;
use proptest::prelude::*;

fn passage(text: &str) -> Passage {
    Passage::new(text.to_owned(), "Exports\nTeam plan".to_owned(), "en")
}

fn checked(sentence: &str, language: &str, passages: &[Passage], cited: &[usize]) -> Checked {
    check(&Sentence::new(sentence.to_owned(), language), passages, cited, None)
}

fn problems(sentence: &str, text: &str) -> Vec<(Kind, String)> {
    let checked = checked(sentence, "en", &[passage(text)], &[0]);
    checked.problems.into_iter().map(|problem| (problem.kind, problem.words)).collect()
}

const TEXT: &str = "Exports are kept for 90 days. Admins can delete an export at any time, but members cannot. The Studio plan has 1,500 seats and \
    the file is a CSV of at most 20 MB. Open Settings > Members and choose Time Tracker. Set user_id first.";

#[test]
fn what_stands_there_has_no_problem() {
    for sentence in [
        "Exports are kept for 90 days.",
        "An export is kept for ninety days [",
        "Members cannot delete exports.",
        "The Studio plan has 1500 seats.",
        "The Team plan is not for members.",
        "Files are CSVs of 20MB at most.",
        "Choose Time Tracker under **Settings** > Members.",
        "Set `user_id` first.",
        "1. Open Settings",
        "Only admins can delete an export.",
        "",
    ] {
        assert_eq!(problems(sentence, TEXT), [], "{sentence}");
    }
}

#[test]
fn what_does_not_stand_there_is_named() {
    for (sentence, kind, words) in [
        ("Exports are kept for 60 days.", Kind::Number, "60 days"),
        ("Exports are kept for 90 hours.", Kind::Unit, "90 hours"),
        ("Exports are not kept for 90 days.", Kind::Negation, "not"),
        ("Admins can delete an export at any time, but members can.", Kind::Negation, "cannot"),
        ("The Studio plan has 1,500 projects.", Kind::Unit, "1,500"),
        ("The file is a PDF of at most 20 MB.", Kind::Identifier, "PDF"),
        ("Open Settings > Billing and choose it.", Kind::Name, "Billing"),
        ("Choose Time Sheet in it.", Kind::Name, "Time Sheet"),
        ("Set `user_name` first.", Kind::Identifier, "user_name"),
        ("It is not true that members cannot delete an export at any time.", Kind::Negation, "not"),
        ("Exports are kept for 20 days.", Kind::Unit, "20 days"),
    ] {
        let found = problems(sentence, TEXT);
        assert!(found.contains(&(kind, words.to_owned())), "{sentence}: {found:?}");
    }
}

#[test]
fn a_number_is_told_in_words_and_by_its_thousands() {
    for (sentence, text) in [
        ("A timer runs for twenty-four hours.", "A timer runs for 24 hours."),
        ("A timer runs for 24 hours.", "A timer runs for twenty four hours."),
        ("The trial takes one month.", "The trial takes a month."),
        ("The trial takes a month.", "The trial takes 30 days."),
        ("The plan costs $12k.", "The plan costs $12,000."),
        ("One of the exports is kept.", "Exports are kept."),
        ("A dozen seats are free.", "12 seats are free."),
    ] {
        assert_eq!(problems(sentence, text), [], "{sentence}");
    }
    for (sentence, words) in [
        ("Exports are kept for one day.", "one day"),
        ("Exports are kept for a single week.", "single week"),
        ("Exports are kept for eighteen days.", "eighteen days"),
        ("Exports are kept for ninety-one days.", "ninety-one days"),
        ("Exports are kept for a dozen days.", "dozen days"),
        ("Exports are kept for 90k days.", "90k days"),
    ] {
        assert_eq!(problems(sentence, TEXT), [(Kind::Number, words.to_owned())], "{sentence}");
    }
}

#[test]
fn what_forbids_is_a_negation() {
    for word in ["forbidden", "hardly", "arent"] {
        let sentence = format!("Exports are {word} kept for 90 days.");
        assert_eq!(problems(&sentence, TEXT), [(Kind::Negation, word.to_owned())]);
    }
}

#[test]
fn a_fact_must_stand_where_the_sentence_comes_from() {
    let text = "The Team plan has 20 seats. The Studio plan has 50 seats.";
    assert_eq!(problems("The Studio plan has 50 seats.", text), []);
    assert_eq!(problems("The Studio plan has 20 seats.", text), [(Kind::Name, "Studio".to_owned())]);
}

#[test]
fn another_language_is_compared_in_numbers_and_identifiers() {
    let passages = [passage(TEXT)];
    let german = checked("Exporte werden 90 Tage als CSV-Datei aufbewahrt, nicht länger.", "de", &passages, &[0]);
    assert_eq!((german.problems.len(), german.support, german.comparable), (0, None, false));
    let wrong = checked("Exporte werden 60 Tage als PDF aufbewahrt.", "de", &passages, &[0]);
    assert_eq!(wrong.problems.iter().map(|one| one.kind).collect::<Vec<_>>(), [Kind::Number, Kind::Identifier]);
}

#[test]
fn the_place_is_the_sentence_that_says_it() {
    let passages = [passage("Nothing here."), passage(TEXT)];
    let support = checked("The export can be deleted by admins any time", "en", &passages, &[0, 1]).support.unwrap();
    assert_eq!(support.place.0, 1);
    assert_eq!(&TEXT[support.place.1.bytes.clone()], "Admins can delete an export at any time, but members cannot.");
    assert!(support.window > 0.9, "{support:?}");
}

#[test]
fn what_can_be_true_or_false_is_a_statement() {
    let found = |draft: &str| -> Vec<(String, usize, bool)> {
        let found = super::statements(draft).into_iter();
        found.map(|one| (draft[one.range].to_owned(), one.block, one.figure)).collect()
    };
    let own = |text: &str, block, figure| (text.to_owned(), block, figure);
    assert_eq!(
        found(
            "# A heading of words\n\nExports are kept for 90 days. Is that long? Do this:\n\n1. Open the page\n2. Save it\n3. Take 2 of them"
        ),
        [
            own("Exports are kept for 90 days.", 1, true),
            own("1. Open the page", 2, false),
            own("3. Take 2 of them", 2, true),
        ]
    );
    assert_eq!(
        found("| Plan of all | Seats it has |\n|---|:-:|\n| Team | 20 |\n| Free plans have | none |"),
        [own("| Team | 20", 0, true), own("| Free plans have | none", 0, false)]
    );
    assert_eq!(
        found("**Step 2:** Open the page\nÉTAPE 10 – ouvrez la page"),
        [own("Open the page", 0, false), own("ouvrez la page", 0, false),]
    );
    assert_eq!(found("Step 123: see"), [own("Step 123: see", 0, true)]);
    for draft in ["> quoted so", "17", "...", "Two words", "Why not 20 days?", "It has these parts:"] {
        assert_eq!(found(draft), [], "{draft}");
    }
}

fn drawn() -> impl Strategy<Value = String> {
    let words = ["The", "Team", "plan", "has", "20", "50", "seats", "not", "user_id", "Studio", "days", ".", "\n"];
    prop::collection::vec(prop::sample::select(words.to_vec()), 0..14).prop_map(|words| words.join(" "))
}

proptest! {
    #[test]
    fn what_says_a_sentence_is_what_each_check_alone_finds(
        texts in prop::collection::vec(drawn(), 1..5), sentence in drawn(), foreign in prop::option::of(0usize..5),
    ) {
        let language = |row| if Some(row) == foreign { "de" } else { "en" };
        let passages: Vec<Passage> = texts
            .iter()
            .enumerate()
            .map(|(row, text)| Passage::new(text.clone(), String::new(), language(row)))
            .collect();
        let places: Vec<usize> = (0..passages.len()).rev().collect();
        let alone = places.iter().filter_map(|&place| {
            let one = Passage::new(texts[place].clone(), String::new(), language(place));
            let found = checked(&sentence, "en", &[one], &[0]);
            let support = found.support.filter(|_| found.problems.is_empty() && found.comparable)?;
            Some(Support { place: (place, support.place.1.clone()), ..support })
        });
        let found = saying(&Sentence::new(sentence.clone(), "en"), &passages, &places, None);
        prop_assert_eq!(found, alone.collect::<Vec<_>>());
    }
}
