use std::path::PathBuf;

use proptest::prelude::*;

use super::*;

const TOKENIZER: &str = r###"{"normalizer":{"type":"BertNormalizer"},"pre_tokenizer":{"type":"BertPreTokenizer"},"model":{"type":
    "WordPiece","unk_token":"[UNK]","continuing_subword_prefix":"##","max_input_chars_per_word":100,
    "vocab":{"[UNK]":0,"a":1,"b":2,"c":3,"d":4}}}"###;
const TOKENS: usize = 5;

/// A model's file: each tensor's name, type, shape and bytes.
fn safetensors(tensors: &[(&str, &str, &[usize], Vec<u8>)]) -> Vec<u8> {
    let (mut entries, mut data) = (Vec::new(), Vec::new());
    for (name, dtype, shape, bytes) in tensors {
        let start = data.len();
        data.extend_from_slice(bytes);
        entries.push(format!(
            r#""{name}":{{"dtype":"{dtype}","shape":{shape:?},"data_offsets":[{start},{}]}}"#,
            data.len()
        ));
    }
    let header = format!(r#"{{"__metadata__":{{"format":"test"}},{}}}"#, entries.join(","));
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &data].concat()
}

fn open(file: &[u8], config: &str) -> Result<StaticEmbedding> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("tokenizer.json"), TOKENIZER).unwrap();
    std::fs::write(folder.path().join("config.json"), config).unwrap();
    std::fs::write(folder.path().join("model.safetensors"), file).unwrap();
    StaticEmbedding::open(folder.path())
}

fn embed(model: &StaticEmbedding, text: &str) -> Vec<f32> {
    let mut out = vec![9.0; model.dimension()];
    model.embed(text, &mut out);
    out
}

/// The mean of the rows of `ids` in double precision, as a unit vector.
fn naive(table: &[Vec<f64>], weights: &[f64], mapping: &[usize], ids: &[usize]) -> Vec<f64> {
    let mut mean = vec![0.0; table[0].len()];
    for &id in ids {
        for (sum, x) in mean.iter_mut().zip(&table[mapping[id]]) {
            *sum += x * weights[id] / ids.len() as f64;
        }
    }
    let norm = mean.iter().map(|x| x * x).sum::<f64>().sqrt();
    mean.iter().map(|x| if norm > 0.0 { x / norm } else { 0.0 }).collect()
}

fn bytes<const N: usize, T: Copy>(numbers: &[T], encode: impl Fn(T) -> [u8; N]) -> Vec<u8> {
    numbers.iter().flat_map(|&number| encode(number)).collect()
}

fn plain(table: &[i8]) -> Vec<u8> {
    safetensors(&[("embeddings", "I8", &[TOKENS, table.len() / TOKENS], table.iter().map(|&x| x as u8).collect())])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn equals_the_naive_mean(
        table in prop::collection::vec(any::<i8>(), TOKENS * 19),
        ids in prop::collection::vec(1..TOKENS, 0..700),
        weights in prop::collection::vec(0.1_f64..3.0, TOKENS),
        mapping in prop::collection::vec(0..3_usize, TOKENS),
    ) {
        let text: String = ids.iter().map(|id| ["?", "a", "b ", " C", "d"][*id]).collect::<Vec<_>>().join(" ");
        let rows: Vec<Vec<f64>> = table.chunks(19).map(|row| row.iter().map(|&x| f64::from(x)).collect()).collect();
        let ones = vec![1.0; TOKENS];
        let straight: Vec<usize> = (0..TOKENS).collect();
        let shape: &[usize] = &[TOKENS, 19];
        let halves = bytes(&table, |x| f16::from_f32(f32::from(x)).to_le_bytes());
        let floats = bytes(&table, |x| f32::from(x).to_le_bytes());
        let integers: Vec<u8> = table.iter().map(|&x| x as u8).collect();
        let scales = ("weights", "F64", &[TOKENS][..], bytes(&weights, f64::to_le_bytes));
        let places = ("mapping", "I64", &[TOKENS][..], bytes(&mapping, |x| (x as i64).to_le_bytes()));
        let cases = [
            (safetensors(&[("embeddings", "I8", shape, integers.clone())]), &ones, &straight),
            (safetensors(&[("embeddings", "F16", shape, halves)]), &ones, &straight),
            (safetensors(&[("embeddings", "F32", shape, floats), scales.clone()]), &weights, &straight),
            (safetensors(&[scales, ("embeddings", "I8", shape, integers), places]), &weights, &mapping),
        ];
        for (file, weights, mapping) in cases {
            let model = open(&file, "{}").unwrap();
            let expected = naive(&rows, weights, mapping, &ids);
            for (x, y) in embed(&model, &text).iter().zip(&expected) {
                prop_assert!((f64::from(*x) - y).abs() < 1e-5, "{x} {y}");
            }
        }
    }

    #[test]
    fn similarities_are_cosines(
        table in prop::collection::vec(any::<i8>(), TOKENS * 19),
        texts in prop::collection::vec(prop::collection::vec(0..TOKENS, 0..9), 1..6),
    ) {
        let model = open(&plain(&table), "{}").unwrap();
        let texts: Vec<String> = texts.iter().map(|ids| ids.iter().map(|id| ["?", "a ", "b ", "c ", "d "][*id]).collect()).collect();
        let others: Vec<&str> = texts.iter().map(String::as_str).collect();
        let wanted = embed(&model, others[0]);
        for (similarity, other) in model.similarities(others[0], &others).iter().zip(&others) {
            let expected: f64 = wanted.iter().zip(embed(&model, other)).map(|(a, b)| f64::from(*a) * f64::from(b)).sum();
            prop_assert!((f64::from(*similarity) - expected).abs() < 1e-5, "{similarity} {expected}");
        }
    }

    #[test]
    fn a_damaged_file_is_an_error_or_harmless(at in 0_usize..200, bit in 0..8, cut in 0_usize..200) {
        let table: Vec<i8> = (0..40).map(|x| x - 20).collect();
        let whole = plain(&table);
        let mut flipped = whole.clone();
        let at = at % flipped.len();
        flipped[at] ^= 1_u8 << bit;
        if let Ok(model) = open(&flipped, "{}") {
            prop_assert!(embed(&model, "a b c d").iter().all(|x| x.is_finite()));
        }
        let short = &whole[..whole.len() - 1 - cut % (whole.len() - 1)];
        prop_assert!(open(short, "{}").is_err(), "cut");
    }
}

#[test]
fn nothing_known_gives_zeros() {
    let model = open(&plain(&[3; 20]), "{}").unwrap();
    for text in ["", " ", "unheard", "🙂"] {
        assert_eq!(embed(&model, text), [0.0; 4], "{text}");
    }
    assert_eq!(embed(&model, "unheard a"), [0.5; 4], "an unknown token is left out");
}

#[test]
fn fewer_components_are_a_unit_vector() {
    let model = open(&plain(&[3; 20]), "{}").unwrap();
    let mut out = [9.0; 1];
    model.embed("a", &mut out);
    assert_eq!(out.map(f32::to_bits), [1.0_f32.to_bits()]);
    let mut out = [9.0; 6];
    model.embed("a", &mut out);
    assert_eq!(out.to_vec(), [0.5, 0.5, 0.5, 0.5, 0.0, 0.0]);
}

#[test]
fn sums_do_not_overflow() {
    let model = open(&plain(&[-128; 20]), "{}").unwrap();
    assert_eq!(embed(&model, &"a ".repeat(100_000)), [-0.5; 4]);
}

#[test]
fn many_are_as_one_by_one() {
    let model = open(&plain(&(0..40).collect::<Vec<i8>>()), r#"{"normalize": true, "max_length": 2}"#).unwrap();
    let texts = ["a b c", "", "d d a", "b"];
    let mut out = vec![0.0; texts.len() * model.dimension()];
    model.embed_all(&texts, &mut out);
    let one_by_one: Vec<f32> = texts.iter().flat_map(|text| embed(&model, text)).collect();
    assert_eq!(out, one_by_one);
}

#[test]
fn other_layouts_are_refused() {
    let good: &[usize] = &[TOKENS, 2];
    let cases = [
        (Vec::new(), "{}"),
        (plain(&[1; 15])[..30].to_vec(), "{}"),
        ([plain(&[1; 15]), vec![0]].concat(), "{}"),
        (plain(&[1; 15]), "3"),
        (plain(&[1; 15]), r#"{"pooling": "max"}"#),
        (safetensors(&[("vectors", "I8", good, vec![0; 10])]), "{}"),
        (safetensors(&[("embeddings", "I16", good, vec![0; 20])]), "{}"),
        (safetensors(&[("embeddings", "I8", good, vec![0; 11])]), "{}"),
        (safetensors(&[("embeddings", "I8", &[4, 2], vec![0; 8])]), "{}"),
        (safetensors(&[("embeddings", "I8", &[10], vec![0; 10])]), "{}"),
        (safetensors(&[("embeddings", "I8", &[TOKENS, 0], vec![])]), "{}"),
        (safetensors(&[("embeddings", "I8", &[usize::MAX, 2, 2], vec![])]), "{}"),
        (safetensors(&[("embeddings", "I8", good, vec![0; 10]), ("mapping", "I32", &[5], vec![0xFF; 20])]), "{}"),
        (safetensors(&[("embeddings", "I8", good, vec![0; 10]), ("mapping", "I32", &[2], vec![0; 8])]), "{}"),
        (safetensors(&[("embeddings", "I8", good, vec![0; 10]), ("weights", "F32", &[5], vec![0xFF; 20])]), "{}"),
    ];
    for (at, (file, config)) in cases.iter().enumerate() {
        assert!(matches!(open(file, config), Err(Error::ModelInvalid { .. })), "case {at}");
    }
    assert!(matches!(StaticEmbedding::open(Path::new("no such folder")), Err(Error::ModelInvalid { .. })));
}

#[test]
fn the_fingerprint_tells_tables_apart() {
    let one = open(&plain(&(0..20).collect::<Vec<i8>>()), "{}").unwrap();
    let same = open(&plain(&(0..20).collect::<Vec<i8>>()), "{}").unwrap();
    let other = open(&plain(&(1..21).collect::<Vec<i8>>()), "{}").unwrap();
    assert_eq!(one.fingerprint(), same.fingerprint());
    assert_ne!(one.fingerprint(), other.fingerprint());
    assert_eq!(one.fingerprint().len(), 32);
}

#[derive(serde::Deserialize)]
struct Golden {
    text: String,
    head: Vec<f32>,
    last: f32,
}

#[test]
fn equals_the_reference_on_the_golden_sentences() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let shipped = root.join("python/clockify_rag/models/docs-static-256-int8");
    let model = StaticEmbedding::open(&shipped).unwrap();
    let golden = std::fs::read_to_string(root.join("tests/golden/embedding.json")).unwrap();
    let golden: Vec<Golden> = serde_json::from_str(&golden).unwrap();
    assert!(golden.len() >= 20);
    for Golden { text, head, last } in golden {
        let vector = embed(&model, &text);
        for (x, y) in vector.iter().zip(head).chain([(&vector[vector.len() - 1], last)]) {
            assert!((x - y).abs() < 2e-6, "{text:?}: {x} {y}");
        }
    }
}

#[test]
fn a_title_counts_by_its_weight() {
    let rows = with_titles(&[1.0, 0.0, 0.0, 1.0, 0.0, 0.0], &[0.0, 1.0, 1.0, 0.0], &[0, 0, 1], 0.75, 2).unwrap();
    assert_eq!(rows, [0.8, 0.6, 0.0, 1.0, 0.0, 0.0]);
    assert_eq!(with_titles(&[1.0, 0.0], &[-1.0, 0.0], &[0], 1.0, 2).unwrap(), [0.0, 0.0]);
}

#[test]
fn how_long_vectors_are_has_no_part_in_what_a_title_counts() {
    let rows = with_titles(&[8.0, 0.0, 0.0, 0.5, 4.0, 0.0], &[0.0, 32.0, 0.0, 0.0], &[0, 0, 1], 0.75, 2).unwrap();
    assert_eq!(rows, [0.8, 0.6, 0.0, 1.0, 1.0, 0.0]);
}

#[test]
fn titles_that_do_not_fit_are_refused() {
    for (passages, titles, owners, weight, dimension) in [
        (&[1.0, 0.0][..], &[1.0, 0.0][..], &[1u32][..], 1.0, 2),
        (&[1.0], &[1.0, 0.0], &[0], 1.0, 2),
        (&[1.0, 0.0], &[1.0], &[0], 1.0, 2),
        (&[1.0, 0.0], &[1.0, 0.0], &[0, 0], 1.0, 2),
        (&[1.0, 0.0], &[1.0, 0.0], &[0], f32::NAN, 2),
        (&[1.0, 0.0], &[1.0, 0.0], &[0], -1.0, 2),
        (&[], &[], &[], 1.0, 0),
    ] {
        assert!(with_titles(passages, titles, owners, weight, dimension).is_err(), "{passages:?} {owners:?} {weight}");
    }
}

proptest! {
    #[test]
    fn a_weight_of_nothing_changes_nothing(values in prop::collection::vec(-1f32..1.0, 1..40)) {
        let norm = values.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
        prop_assume!(norm > 1e-3);
        let unit: Vec<f32> = values.iter().map(|&x| (f64::from(x) / norm) as f32).collect();
        let rows = with_titles(&unit, &unit, &[0], 0.0, unit.len()).unwrap();
        for (row, unit) in rows.iter().zip(&unit) {
            prop_assert!((row - unit).abs() < 1e-6);
        }
    }
}
