use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::prelude::*;

use super::rotation::splitmix;
use super::*;
use crate::execution;
use crate::storage::{Segment, SegmentWriter};

struct Stored {
    _folder: tempfile::TempDir,
    vectors: VectorSegment,
}

fn stored(dimension: usize, floats: &[f32]) -> Stored {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("segment");
    let mut writer = SegmentWriter::create(&path).unwrap();
    write(&mut writer, dimension, floats, &floats[..floats.len().min(3 * dimension)]).unwrap();
    let segment = Arc::new(Segment::open(&path, &writer.finish().unwrap()).unwrap());
    Stored { vectors: VectorSegment::open(&segment).unwrap(), _folder: folder }
}

/// Rows around a few centres, some equal, some zero, some not finite.
fn rows(count: usize, dimension: usize, seed: u64) -> Vec<f32> {
    let mut random = splitmix(seed);
    let mut float = || random() as u32 as f32 / 2f32.powi(31) - 1.0;
    let centres: Vec<f32> = (0..8 * dimension).map(|_| float()).collect();
    let mut rows = Vec::with_capacity(count * dimension);
    for row in 0..count {
        let centre = &centres[(row % 8) * dimension..][..dimension];
        match row % 23 {
            5 => rows.extend(std::iter::repeat_n(0.0, dimension)),
            6 => rows.extend((0..dimension).map(|at| if at == 0 { f32::NAN } else { 1.0 })),
            7..=9 => rows.extend(centre),
            _ => rows.extend(centre.iter().map(|value| value + 0.7 * float())),
        }
    }
    rows
}

fn naive(
    segments: &[(&VectorSegment, Option<&Bitmap>)],
    query: &[f32],
    k: usize,
    key: impl Fn(u32, u32) -> [u64; 3],
) -> Vec<Neighbor> {
    let mut all = Vec::new();
    for (number, (vectors, filter)) in segments.iter().enumerate() {
        let wanted: Vec<u32> =
            (0..vectors.rows()).filter(|&row| filter.is_none_or(|filter| filter.contains(row))).collect();
        for (&row, cosine) in wanted.iter().zip(vectors.cosines(&wanted, query).unwrap()) {
            if vectors.vector(row).unwrap().iter().any(|&value| value != 0.0) {
                all.push(Neighbor { segment: number as u32, row, cosine });
            }
        }
    }
    all.sort_by(|a, b| b.cosine.total_cmp(&a.cosine).then(key(a.segment, a.row).cmp(&key(b.segment, b.row))));
    all.truncate(k);
    all
}

/// A key that scrambles the rows, so that no order of a scan is right by accident.
fn scrambled(row: u64) -> [u64; 3] {
    [row.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 60, row.wrapping_mul(0xbf58_476d_1ce4_e5b9), row]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn exact_is_a_full_scan(
        dimension in 1usize..300, count in 0usize..700, k in 0usize..40, seed in any::<u64>(), filtered in prop::option::of(1u32..9),
    ) {
        let floats = rows(count, dimension, seed);
        let stored = stored(dimension, &floats);
        let filter = filtered.map(|every| {
            let mut bitmap = Bitmap::empty(count as u32);
            (0..count as u32).step_by(every as usize).for_each(|row| bitmap.insert(row));
            bitmap
        });
        let segments = [(&stored.vectors, filter.as_ref())];
        let query = rows(12, dimension, seed ^ 1)[11 * dimension..].to_vec();
        let key = |_, row| scrambled(u64::from(row));
        let answer = top_k(&segments, &query, k, Mode::Exact, key).unwrap();
        prop_assert_eq!(answer.neighbors, naive(&segments, &query, k, key));
        prop_assert_eq!(answer.path, Path::Exact);
    }
}

#[test]
fn answers_do_not_depend_on_segments_or_levels() {
    let (dimension, count) = (40, 9000);
    let floats = rows(count, dimension, 3);
    let whole = stored(dimension, &floats);
    let cuts = [0, 1, 70, 4170, count];
    let parts: Vec<Stored> =
        cuts.windows(2).map(|cut| stored(dimension, &floats[cut[0] * dimension..cut[1] * dimension])).collect();
    let mut filter = Bitmap::full(count as u32);
    (0..count as u32).step_by(7).for_each(|row| filter.remove(row));
    let part_filters: Vec<Bitmap> = cuts
        .windows(2)
        .map(|cut| {
            let mut part = Bitmap::empty((cut[1] - cut[0]) as u32);
            (cut[0]..cut[1])
                .filter(|&row| filter.contains(row as u32))
                .for_each(|row| part.insert((row - cut[0]) as u32));
            part
        })
        .collect();
    for query in rows(32, dimension, 4).chunks(dimension).filter(|query| layout::length(query).is_some()) {
        for mode in [Mode::Exact, Mode::Cascade { oversample: 20 }, Mode::Auto] {
            for allowed in [false, true] {
                let one = [(&whole.vectors, allowed.then_some(&filter))];
                let many: Vec<_> = parts
                    .iter()
                    .zip(&part_filters)
                    .map(|(part, filter)| (&part.vectors, allowed.then_some(filter)))
                    .collect();
                let expected = top_k(&one, query, 50, mode, |_, row| scrambled(u64::from(row))).unwrap();
                let global = |segment: u32, row: u32| cuts[segment as usize] as u64 + u64::from(row);
                for level in Simd::available() {
                    Simd::force(Some(level)).unwrap();
                    let answer = top_k(&many, query, 50, mode, |segment, row| scrambled(global(segment, row))).unwrap();
                    let found: Vec<_> =
                        answer.neighbors.iter().map(|n| (global(n.segment, n.row), n.cosine.to_bits())).collect();
                    let wanted: Vec<_> =
                        expected.neighbors.iter().map(|n| (u64::from(n.row), n.cosine.to_bits())).collect();
                    assert_eq!(found, wanted, "{mode:?} {level:?}");
                    assert_eq!((answer.path, answer.rescored), (expected.path, expected.rescored));
                }
                Simd::force(None).unwrap();
                let on_the_pool = || top_k(&one, query, 50, mode, |_, row| scrambled(u64::from(row)));
                assert_eq!(execution::install(on_the_pool, || false).unwrap(), expected, "{mode:?}");
            }
        }
    }
}

#[test]
fn the_cascade_finds_nearly_all_and_says_so() {
    let (dimension, count, k) = (128, 8000, 20);
    let stored = stored(dimension, &rows(count, dimension, 5));
    let segments = [(&stored.vectors, None)];
    let (mut hits, mut total) = (0, 0);
    for query in rows(40, dimension, 5).chunks(dimension).filter(|query| layout::length(query).is_some()) {
        let of = |mode| top_k(&segments, query, k, mode, |_, row| scrambled(u64::from(row))).unwrap();
        let (exact, near) = (of(Mode::Exact), of(Mode::Cascade { oversample: 100 }));
        assert!(matches!(near.path, Path::Cascade { pool: 256..=2100 }), "{:?}", near.path);
        let rows = |answer: &Neighbors| answer.neighbors.iter().map(|n| n.row).collect::<BTreeSet<_>>();
        hits += rows(&exact).intersection(&rows(&near)).count();
        total += k;
    }
    assert!(hits * 100 >= total * 97, "{hits} of {total}");
}

#[test]
fn zero_and_invalid_queries_and_rows() {
    let stored = stored(2, &[1.0, 0.0, 0.0, 0.0, f32::INFINITY, 1.0, 3.0, 4.0, -1.0, 0.0]);
    let segments = [(&stored.vectors, None)];
    let of = |query: &[f32]| top_k(&segments, query, 9, Mode::Auto, |_, row| [u64::from(row), 0, 0]);
    let found: Vec<u32> = of(&[2.0, 0.0]).unwrap().neighbors.iter().map(|n| n.row).collect();
    assert_eq!(found, [0, 3, 4]);
    assert_eq!(of(&[0.0, 0.0]).unwrap().neighbors, []);
    assert!(of(&[f32::NAN, 0.0]).is_err() && of(&[1.0]).is_err() && of(&[1.0, 0.0, 0.0]).is_err());
    assert_eq!(stored.vectors.cosines(&[1, 2, 0], &[5.0, 0.0]).unwrap(), [0.0, 0.0, 1.0]);
    assert_eq!(stored.vectors.document_cosines(&[0, 1], &[5.0, 0.0]).unwrap(), [1.0, 0.0]);
    assert!(
        stored.vectors.cosines(&[5], &[1.0, 0.0]).is_err()
            && stored.vectors.document_cosines(&[3], &[1.0, 0.0]).is_err()
    );
    assert_eq!(stored.vectors.vector(1).unwrap(), [0.0, 0.0]);
    assert_eq!((stored.vectors.dimension(), stored.vectors.rows(), stored.vectors.documents()), (2, 5, 3));
}

#[test]
fn a_flipped_bit_is_reported_or_without_effect() {
    let (dimension, count) = (24, 4200);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("segment");
    let floats = rows(count, dimension, 8);
    let mut writer = SegmentWriter::create(&path).unwrap();
    write(&mut writer, dimension, &floats, &floats[..dimension * 4]).unwrap();
    let entries = writer.finish().unwrap();
    let query = &floats[..dimension];
    let ask = || {
        let vectors = VectorSegment::open(&Arc::new(Segment::open(&path, &entries)?))?;
        let of = |mode| {
            Ok::<_, Error>(top_k(&[(&vectors, None)], query, 10, mode, |_, row| [u64::from(row), 0, 0])?.neighbors)
        };
        let documents = vectors.document_cosines(&[0, 1, 2, 3], query)?;
        Ok::<_, Error>((of(Mode::Exact)?, of(Mode::Cascade { oversample: 1 })?, documents))
    };
    let expected = ask().unwrap();
    let mut random = splitmix(11);
    let mut reported = 0;
    for name in [layout::HALVES, layout::BYTES, layout::BITS, layout::DOCUMENTS] {
        let file = path.join(name);
        let whole = std::fs::read(&file).unwrap();
        for turn in 0..30 {
            let mut damaged = whole.clone();
            let at = if turn < 8 { turn * 3 } else { random() as usize % whole.len() };
            damaged[at] ^= 1 << (random() % 8);
            std::fs::write(&file, damaged).unwrap();
            match ask() {
                Err(Error::IndexCorrupt { .. }) => reported += 1,
                answer => assert_eq!(answer.unwrap(), expected, "{name} {at}"),
            }
        }
        std::fs::write(&file, whole).unwrap();
    }
    assert!(reported > 60, "{reported}");
}

#[test]
fn crafted_headers_are_refused() {
    let (dimension, floats) = (8, rows(70, 8, 9));
    for name in [layout::HALVES, layout::BYTES, layout::BITS, layout::DOCUMENTS] {
        for (at, value) in [(0, b'X'), (8, 9), (12, 0), (13, 255), (16, 3), (40, 1)] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("segment");
            let mut honest = SegmentWriter::create(&path).unwrap();
            write(&mut honest, dimension, &floats, &floats).unwrap();
            honest.finish().unwrap();
            let mut writer = SegmentWriter::create(&folder.path().join("crafted")).unwrap();
            for own in [layout::HALVES, layout::BYTES, layout::BITS, layout::DOCUMENTS] {
                let mut bytes = std::fs::read(path.join(own)).unwrap();
                if own == name {
                    bytes[at] = value;
                }
                writer.file(own, |file| file.put(&bytes)).unwrap();
            }
            let segment = Arc::new(Segment::open(&folder.path().join("crafted"), &writer.finish().unwrap()).unwrap());
            let error = VectorSegment::open(&segment).unwrap_err();
            assert!(
                matches!(error, Error::IndexCorrupt { .. } | Error::IndexIncompatible { .. }),
                "{name} {at} {error}"
            );
        }
    }
}

#[test]
fn impossible_dimensions_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = SegmentWriter::create(&folder.path().join("segment")).unwrap();
    for (dimension, floats) in [(0, 0), (3, 4), (MAX_DIMENSION + 1, MAX_DIMENSION + 1)] {
        assert!(matches!(write(&mut writer, dimension, &vec![1.0; floats], &[]), Err(Error::InvalidArgument(_))));
    }
}

proptest! {
    #[test]
    fn rows_are_rounded_once(values in prop::collection::vec(-3f32..3.0, 1..64), dimension in 1usize..9) {
        let rows = values.len() / dimension;
        let once = as_stored(dimension, &values[..rows * dimension]).unwrap();
        prop_assert_eq!(&as_stored(dimension, &once).unwrap(), &once);
        for row in once.chunks(dimension) {
            let norm = row.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
            prop_assert!(norm == 0.0 || (norm - 1.0).abs() < 2e-3, "{norm}");
        }
    }
}

#[test]
fn equal_components_of_many_dimensions_do_not_overflow() {
    for dimension in [2048, MAX_DIMENSION] {
        let mut floats = vec![1.0; dimension];
        floats.extend((0..dimension).map(|at| if at % 3 == 0 { -1.0 } else { 1.0 }));
        floats.extend(vec![-1.0; dimension]);
        let stored = stored(dimension, &floats);
        for level in Simd::available() {
            Simd::force(Some(level)).unwrap();
            for query in [&floats[..dimension], &floats[2 * dimension..]] {
                let segments = [(&stored.vectors, None)];
                let answer = top_k(&segments, query, 2, Mode::Exact, |_, row| [u64::from(row), 0, 0]).unwrap();
                assert_eq!(answer.neighbors, naive(&segments, query, 2, |_, row| [u64::from(row), 0, 0]), "{level:?}");
            }
            Simd::force(None).unwrap();
        }
    }
}
