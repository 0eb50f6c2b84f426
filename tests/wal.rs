//! Damage to the frames of the log: blank, doubled, swapped, left out, of another segment or database. What comes back is
//! what was logged; or all but frames of the last sync group of a log that nobody closed, which is reported; or
//! `Corruption`. Every flipped byte and every length of the same logs are tried by `corruption`.

use std::ops::Range;

use kv_api::Result;
use kv_io::checksum::FileSum;
use kv_io::identity::Identity;
use kv_io::layout::{FileKind, parse_name};
use kv_io::wal::frame::{FrameHeader, FramePlace};
use kv_io::wal::segment::SEGMENT_HEADER_LEN;
use tests::damage::{Left, Patient, lab_over, put_file};
use tests::share::{by_share, tell};
use tests::{Engine, each_stored_engine};

each_stored_engine!(
    frames_that_are_blank,
    frames_that_changed_places,
    frames_left_out_or_doubled,
    frames_of_another_place,
);

/// How a log can be left.
const LEFT: [Left; 3] = [Left::Logged, Left::Killed, Left::Grouped];

/// A segment of the log, with its frames.
struct Segment {
    name: String,
    bytes: Vec<u8>,
    frames: Vec<Range<usize>>,
}

/// The segments of a patient that hold frames.
fn segments(patient: &Patient) -> Result<Vec<Segment>> {
    let lab = lab_over(patient.engine, &patient.disk);
    let identity = Identity::load(&*patient.disk, lab.dir())?.expect("a database has an identity");
    let mut segments = Vec::new();
    for (name, bytes) in patient.files()? {
        let Some((FileKind::Wal, id)) = parse_name(&name) else { continue };
        let sum = FileSum::new(identity.salt, id);
        let mut frames = Vec::new();
        let mut at = SEGMENT_HEADER_LEN as usize;
        while let Some(header) =
            FrameHeader::decode(FramePlace { sum: &sum, segment_id: id, offset: at as u64 }, &bytes[at..])
        {
            frames.push(at..at + header.frame_len() as usize);
            at += header.frame_len() as usize;
        }
        if !frames.is_empty() {
            segments.push(Segment { name, bytes, frames });
        }
    }
    assert!(!segments.is_empty(), "no frame was found");
    Ok(segments)
}

/// Runs `damage` over every patient, and sees to it that something was found.
fn each_log(
    engine: Engine,
    what: &str,
    damage: impl Fn(&mut Patient, &Segment, Left) -> Result<()>,
) -> Result<()> {
    for left in LEFT {
        let mut patient = Patient::new(engine, left, 1)?;
        for segment in segments(&patient)? {
            damage(&mut patient, &segment, left)?;
        }
        let tally = &patient.tally;
        tell(&format!(
            "wal: {}, {left:?}, {what}: {} right, {} refused, {} cut and reported",
            engine.name(),
            tally.right,
            tally.refused,
            tally.cut
        ));
        patient.expect(|tally| tally.refused > 0, "no damage was found");
        let is_closed = left == Left::Logged;
        patient.expect(|tally| !is_closed || tally.cut == 0, "a closed log has no torn tail");
    }
    Ok(())
}

/// Puts `bytes` in the place of a segment.
fn replaced(patient: &mut Patient, left: Left, segment: &Segment, what: &str, mut bytes: Vec<u8>) {
    bytes.resize(segment.bytes.len(), 0);
    let context = format!("{left:?}, {}: {what}", segment.name);
    patient.damaged(&context, |disk, dir| put_file(disk, &dir.join(&segment.name), &bytes));
}

/// Each frame whole, and each of its words.
fn frames_that_are_blank(engine: Engine) -> Result<()> {
    each_log(engine, "blank", |patient, segment, left| {
        for (n, frame) in segment.frames.iter().enumerate() {
            let mut bytes = segment.bytes.clone();
            bytes[frame.clone()].fill(0);
            replaced(patient, left, segment, &format!("frame {n} is blank"), bytes);
            let mut bytes = segment.bytes.clone();
            bytes[frame.start..].fill(0);
            replaced(patient, left, segment, &format!("all from frame {n} on is blank"), bytes);
            for word in frame.clone().step_by(8 * by_share(11, 1, 1)) {
                let mut bytes = segment.bytes.clone();
                bytes[word..word + 8].fill(0);
                replaced(patient, left, segment, &format!("the word at {word} in frame {n} is blank"), bytes);
            }
        }
        Ok(())
    })
}

/// Each two neighbours, and each frame with one further on.
fn frames_that_changed_places(engine: Engine) -> Result<()> {
    each_log(engine, "changed places", |patient, segment, left| {
        let frames = &segment.frames;
        for (n, first) in frames.iter().enumerate() {
            for step in [1, 2, 7] {
                let Some(second) = frames.get(n + step) else { continue };
                let bytes = &segment.bytes;
                let parts = [&bytes[..first.start], &bytes[second.clone()], &bytes[first.end..second.start]];
                let rest = [&bytes[first.clone()], &bytes[second.end..]];
                let swapped = [parts.concat(), rest.concat()].concat();
                replaced(
                    patient,
                    left,
                    segment,
                    &format!("frames {n} and {} are swapped", n + step),
                    swapped,
                );
            }
        }
        Ok(())
    })
}

/// What follows moves up or back; or only one place is overwritten.
fn frames_left_out_or_doubled(engine: Engine) -> Result<()> {
    each_log(engine, "left out or doubled", |patient, segment, left| {
        let bytes = &segment.bytes;
        for (n, frame) in segment.frames.iter().enumerate() {
            let without = [&bytes[..frame.start], &bytes[frame.end..]].concat();
            replaced(patient, left, segment, &format!("frame {n} is left out"), without);
            let mut doubled = [&bytes[..frame.end], &bytes[frame.start..]].concat();
            doubled.truncate(bytes.len());
            replaced(patient, left, segment, &format!("frame {n} comes twice"), doubled);
            for (m, place) in segment.frames.iter().enumerate().filter(|(m, _)| *m != n) {
                if (m + n) % by_share(5, 1, 1) != 0 {
                    continue;
                }
                let mut over = bytes.clone();
                let len = frame.len().min(over.len() - place.start);
                over[place.start..place.start + len].copy_from_slice(&bytes[frame.start..frame.start + len]);
                replaced(patient, left, segment, &format!("frame {n} lies over frame {m}"), over);
            }
        }
        Ok(())
    })
}

/// Frames of the same offset from another segment, and from the segment of the same name of another database; and
/// everything from a frame on.
fn frames_of_another_place(engine: Engine) -> Result<()> {
    for left in LEFT {
        let mut patient = Patient::new(engine, left, 1)?;
        let own = segments(&patient)?;
        let foreign = segments(&Patient::new(engine, left, 2)?)?;
        for segment in &own {
            let others = own.iter().filter(|other| other.name != segment.name).chain(&foreign);
            for other in others {
                for frame in segment.frames.iter().filter(|frame| frame.end <= other.bytes.len()) {
                    let mut bytes = segment.bytes.clone();
                    bytes[frame.clone()].copy_from_slice(&other.bytes[frame.clone()]);
                    let what = format!("the frame at {} is of another {}", frame.start, other.name);
                    replaced(&mut patient, left, segment, &what, bytes);
                    let mut bytes = segment.bytes[..frame.start].to_vec();
                    bytes.extend_from_slice(&other.bytes[frame.start..]);
                    let what = format!("all from {} on is of another {}", frame.start, other.name);
                    replaced(&mut patient, left, segment, &what, bytes);
                }
            }
        }
        patient.expect(|tally| tally.refused > 0, "no damage was found");
    }
    Ok(())
}
