use std::fs;

use proptest::prelude::*;
use reveille_account::Stream::{Stderr, Stdout};

use super::*;
use crate::output::OutputReader;
use crate::output::caps::TAIL_MEMORY;

fn writer(directory: &Path, caps: OutputCaps, share: &OutputShare) -> OutputWriter {
    OutputWriter::new(directory, &"web1".into(), 1, caps, share.clone(), None)
}

fn frames(directory: &Path) -> Vec<Frame> {
    OutputReader::open(directory, &"web1".into(), 1)
        .unwrap()
        .collect::<Result<_>>()
        .unwrap()
}

#[test]
fn keeps_streams_apart_and_skips_recorded_bytes() {
    let directory = tempfile::tempdir().unwrap();
    let share = OutputShare::default();
    let mut output = writer(directory.path(), OutputCaps::default(), &share);
    output.write(0, 1, Stdout, 0, b"hello ").unwrap();
    output.write(0, 1, Stderr, 0, b"oh").unwrap();
    output.write(0, 1, Stdout, 3, b"lo world").unwrap();
    output.write(0, 1, Stdout, 0, b"hello").unwrap();
    let told = output.finish(0, 1).unwrap();
    assert_eq!(
        (told.stdout_bytes, told.stderr_bytes, told.dropped_bytes),
        (11, 2, 0)
    );
    output.write(1, 1, Stdout, 0, b"next").unwrap();
    drop(output);

    let bytes: Vec<_> = frames(directory.path())
        .into_iter()
        .map(|frame| (frame.step, frame.stream, frame.offset, frame.bytes))
        .collect();
    assert_eq!(
        bytes,
        [
            (0, Stdout, 0, b"hello ".to_vec()),
            (0, Stderr, 0, b"oh".to_vec()),
            (0, Stdout, 6, b"world".to_vec()),
            (1, Stdout, 0, b"next".to_vec()),
        ]
    );
    let mut reader = OutputReader::open(directory.path(), &"web1".into(), 1).unwrap();
    assert_eq!(reader.tail(0, 1, Stdout, 5).unwrap(), (b"world".to_vec(), true));
    assert_eq!(reader.tail(0, 1, Stderr, 5).unwrap(), (b"oh".to_vec(), false));
}

#[test]
fn a_flood_keeps_head_and_tail_and_records_the_gap() {
    let directory = tempfile::tempdir().unwrap();
    let share = OutputShare::default();
    let caps = OutputCaps { head: 10, tail: 6 };
    let mut output = writer(directory.path(), caps, &share);
    for chunk in 0..100u64 {
        output
            .write(0, 1, Stdout, chunk * 10, format!("{chunk:010}").as_bytes())
            .unwrap();
    }
    let told = output.finish(0, 1).unwrap();
    assert_eq!((told.stdout_bytes, told.dropped_bytes), (1000, 984));
    let frames = frames(directory.path());
    assert_eq!(frames.len(), 3);
    assert_eq!(frames[0].bytes, b"0000000000");
    assert_eq!((frames[1].offset, frames[1].gap), (10, 984));
    assert_eq!(
        (frames[2].offset, frames[2].bytes.as_slice()),
        (994, &b"000099"[..])
    );
    assert_eq!(
        share.tails.load(Ordering::Relaxed),
        TAIL_MEMORY,
        "the tail's memory was returned"
    );
}

#[test]
fn the_runs_cap_stops_writes_and_records_a_gap() {
    let directory = tempfile::tempdir().unwrap();
    let share = OutputShare::new(4);
    let mut output = writer(directory.path(), OutputCaps::default(), &share);
    output.write(0, 1, Stdout, 0, b"abcdefgh").unwrap();
    let told = output.finish(0, 1).unwrap();
    assert_eq!((told.stdout_bytes, told.dropped_bytes), (8, 4));
    let frames = frames(directory.path());
    assert_eq!(frames[0].bytes, b"abcd");
    assert_eq!((frames[1].offset, frames[1].gap), (4, 4));
}

#[test]
fn a_host_that_never_wrote_has_no_frames() {
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(frames(directory.path()), []);
    drop(writer(
        directory.path(),
        OutputCaps::default(),
        &OutputShare::default(),
    ));
    assert!(!directory.path().join("out").exists());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Cuts the file at every length: intact frames stay, and writing continues as if nothing had happened.
    #[test]
    fn recovers_from_a_cut_at_every_length(
        writes in prop::collection::vec((0..2u32, any::<bool>(), prop::collection::vec(any::<u8>(), 1..40)), 1..8),
    ) {
        let directory = tempfile::tempdir().unwrap();
        let share = OutputShare::default();
        let path = directory.path().join("out").join(file_name(&"web1".into(), 1));
        let mut output = writer(directory.path(), OutputCaps::default(), &share);
        let mut ends = vec![0];
        let mut offsets = std::collections::BTreeMap::new();
        let mut sorted = writes;
        sorted.sort_by_key(|(step, ..)| *step);
        for (step, stdout, bytes) in &sorted {
            let stream = if *stdout { Stdout } else { Stderr };
            let offset = offsets.entry((*step, stream)).or_insert(0);
            output.write(*step, 1, stream, *offset, bytes).unwrap();
            *offset += bytes.len() as u64;
            ends.push(fs::metadata(&path).unwrap().len());
        }
        drop(output);
        let whole = fs::read(&path).unwrap();
        let all = frames(directory.path());
        for length in 0..=whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            let mut output = writer(directory.path(), OutputCaps::default(), &share);
            let found = output.recover().unwrap().to_vec();
            let kept = ends.iter().filter(|end| **end <= length as u64).count() - 1;
            prop_assert_eq!(fs::metadata(&path).unwrap().len(), ends[kept]);
            prop_assert_eq!(&frames(directory.path()), &all[..kept]);
            for (step, stdout, _) in &sorted {
                let stream = if *stdout { Stdout } else { Stderr };
                let expected = all[..kept]
                    .iter()
                    .filter(|frame| (frame.step, frame.stream) == (*step, stream))
                    .map(Frame::end)
                    .max()
                    .unwrap_or(0);
                let told = found
                    .iter()
                    .find(|found| (found.step, found.stream) == (*step, stream))
                    .map_or(0, |found| found.offset);
                prop_assert_eq!(told, expected);
            }
            output.write(7, 1, Stdout, 0, b"after").unwrap();
            drop(output);
            let last = frames(directory.path()).pop().unwrap();
            prop_assert_eq!(last.bytes, b"after");
        }
    }

    #[test]
    fn damage_never_panics(bytes: Vec<u8>) {
        let _ = Frame::read(&mut bytes.as_slice());
        let mut framed = b"RVF1".to_vec();
        framed.extend(bytes);
        let _ = Frame::read(&mut framed.as_slice());
    }

    /// The disk is full now and then and the caller retries: the record is the same as without failures.
    #[test]
    fn a_failed_write_can_be_repeated(
        writes in prop::collection::vec((any::<bool>(), 1..200usize, prop::option::of(0..150usize)), 1..30),
        head in 0..600u64,
        tail in 0..300u64,
        last_fails in prop::option::of(0..100usize),
    ) {
        let record = |failing: bool| {
            let directory = tempfile::tempdir().unwrap();
            let share = OutputShare::new(1500);
            let mut output = writer(directory.path(), OutputCaps { head, tail }, &share);
            let mut offsets = [0u64; 2];
            for (stdout, size, fails) in &writes {
                let stream = if *stdout { Stdout } else { Stderr };
                let offset = &mut offsets[index(stream)];
                let bytes: Vec<u8> = (0..*size as u64).map(|at| ((*offset + at) % 251) as u8).collect();
                output.fails_after = fails.filter(|_| failing);
                if output.write(0, 1, stream, *offset, &bytes).is_err() {
                    output.write(0, 1, stream, *offset, &bytes).unwrap();
                }
                output.fails_after = None;
                *offset += *size as u64;
            }
            output.fails_after = last_fails.filter(|_| failing);
            let told = output.finish(0, 1).or_else(|_| output.finish(0, 1)).unwrap();
            (told, frames(directory.path()), share.left(), share.tails.load(Ordering::Relaxed))
        };
        prop_assert_eq!(record(true), record(false));
    }

    /// Whatever the order and size of writes, recorded and dropped bytes add up to those written.
    #[test]
    fn nothing_is_unaccounted_for(
        writes in prop::collection::vec((any::<bool>(), 1..200usize), 1..40),
        head in 0..400u64,
        tail in 0..400u64,
        run_cap in prop_oneof![Just(u64::MAX), 0..2000u64],
    ) {
        let directory = tempfile::tempdir().unwrap();
        let share = OutputShare::new(run_cap);
        let mut output = writer(directory.path(), OutputCaps { head, tail }, &share);
        let mut offsets = [0u64; 2];
        for (stdout, size) in &writes {
            let stream = if *stdout { Stdout } else { Stderr };
            let offset = &mut offsets[index(stream)];
            let bytes: Vec<u8> = (0..*size as u64).map(|at| ((*offset + at) % 251) as u8).collect();
            output.write(0, 1, stream, *offset, &bytes).unwrap();
            *offset += *size as u64;
        }
        let told = output.finish(0, 1).unwrap();
        prop_assert_eq!([told.stdout_bytes, told.stderr_bytes], offsets);
        let (mut kept, mut gaps, mut next) = (0, 0, [0u64; 2]);
        for frame in frames(directory.path()) {
            prop_assert_eq!(frame.offset, next[index(frame.stream)]);
            for (at, byte) in frame.bytes.iter().enumerate() {
                prop_assert_eq!(u64::from(*byte), (frame.offset + at as u64) % 251);
            }
            next[index(frame.stream)] = frame.end();
            kept += frame.bytes.len() as u64;
            gaps += frame.gap;
        }
        prop_assert_eq!(next, offsets);
        prop_assert_eq!(gaps, told.dropped_bytes);
        prop_assert_eq!(kept + gaps, offsets[0] + offsets[1]);
        prop_assert!(kept <= (head + tail).min(run_cap));
    }
}

#[test]
fn written_bytes_are_synced_even_after_the_file_was_closed() {
    let directory = tempfile::tempdir().unwrap();
    let share = OutputShare::default();
    let mut output = writer(directory.path(), OutputCaps::default(), &share);
    assert!(output.sync().is_none(), "nothing was written");
    output.write(0, 1, Stdout, 0, b"said").unwrap();
    output.release();
    output.sync().expect("there is something to sync").now().unwrap();
    assert!(output.sync().is_some(), "the sync was not confirmed");
    output.synced();
    assert!(output.sync().is_none(), "it is durable already");
    output.write(0, 1, Stdout, 4, b"more").unwrap();
    assert!(output.sync().is_some());
    // The next controller syncs what an earlier one left.
    drop(output);
    let mut output = writer(directory.path(), OutputCaps::default(), &share);
    output.recover().unwrap();
    assert!(output.sync().is_some());
}
