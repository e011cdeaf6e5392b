//! Where a program goes on after a quick restart: from what was recorded and the number that the
//! printer asks for next.
//!
//! The printer is the witness: asked with a number that cannot be right, it names the last line that
//! it accepted (`Last Line: 41`, `Resend: 42`). The records say which place of the file has that
//! number. Lines that it never got are sent again under the same numbers; none is sent twice.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::history::Place;
use super::memory::{self, LineMemory};
use super::memory_record::Record;
use super::pause_record::PauseRecord;

/// What the memory of a job says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResumePoint {
    /// Go on with the command that comes `skip` commands behind `after`.
    Program {
        /// A known place.
        after: Place,
        /// Commands behind it that the printer has.
        skip: u32,
    },
    /// The head stands parked in a pause.
    Parked,
    /// The head was on its way somewhere, or the number means nothing: the print is lost.
    Lost,
}

/// The place of the program that is to be sent under the number `next`.
pub fn resume_point(records: &[Record], next: u32) -> ResumePoint {
    // The last run that began at or before the number, and where it ended.
    let mut place: Option<(Place, u32)> = None;
    let mut run: Option<(u32, Place)> = None;
    let mut left = None;
    for record in records {
        match record {
            Record::Begin { .. } => (place, run, left) = (Some((Place::default(), 0)), None, None),
            Record::Run { number, after } => {
                left = None;
                if *number <= next {
                    run = Some((*number, *after));
                    place = Some((*after, 0));
                }
            }
            Record::Aside { number } => {
                if let Some((first, after)) = run.take() {
                    // A number inside the run that ends here lies before the aside.
                    let end = (*number).min(next);
                    place = Some((after, end.saturating_sub(first)));
                }
            }
            Record::Skip { .. } => {}
            Record::Leaving => left = Some(ResumePoint::Lost),
            Record::Parked { .. } => left = Some(ResumePoint::Parked),
            Record::End => return ResumePoint::Lost,
        }
    }
    if let Some(left) = left {
        return left;
    }
    match (run, place) {
        (Some((first, after)), _) => ResumePoint::Program {
            after,
            skip: next - first,
        },
        (None, Some((after, skip))) => ResumePoint::Program { after, skip },
        (None, None) => ResumePoint::Lost,
    }
}

/// The header of the memory file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Header {
    uid: Uuid,
    paused: Option<Box<PauseRecord>>,
    /// Objects left out since the start, and from which byte on.
    #[serde(default)]
    skipped: Vec<(u32, u64)>,
}

impl Header {
    fn of(uid: Uuid) -> Self {
        Header {
            uid,
            paused: None,
            skipped: Vec::new(),
        }
    }
}

/// A running job that the last process left.
pub type Left = (Uuid, Vec<Record>);

/// The memory of one printer: keeps records while a job runs, gives them back to the next process.
#[derive(Debug)]
pub struct JobMemory {
    file: LineMemory,
    header: Header,
}

impl JobMemory {
    /// Opens the memory at `path`; with it comes what the last process left of a running job.
    pub fn open(path: &Path) -> io::Result<(Self, Option<Left>)> {
        let left = memory::load(path).and_then(|loaded| {
            let header = loaded.header::<Header>()?;
            let records: Option<Vec<Record>> = loaded
                .records
                .iter()
                .map(|json| serde_json::from_slice(json).ok())
                .collect();
            let mut records = records?;
            if let Some(Record::Parked { saved }) = records.last_mut() {
                saved.clone_from(&header.paused);
            }
            let skips = header.skipped.iter();
            let skips = skips.map(|&(id, from_byte)| Record::Skip { id, from_byte });
            records.splice(0..0, skips);
            Some((loaded, header, records))
        });
        match left {
            Some((loaded, header, records)) => {
                let file = LineMemory::go_on(path, &loaded)?;
                let left = (header.uid, records);
                Ok((JobMemory { file, header }, Some(left)))
            }
            None => {
                let file = LineMemory::create(path)?;
                let header = Header::of(Uuid::nil());
                Ok((JobMemory { file, header }, None))
            }
        }
    }

    /// Keeps a record; to be called before the line goes to the port.
    pub fn keep(&mut self, record: &Record) -> io::Result<()> {
        match record {
            Record::Begin { uid } => {
                self.header = Header::of(*uid);
                self.file.begin(&self.header)?;
                self.file.push_json(record)
            }
            Record::Parked { saved } => {
                self.header.paused.clone_from(saved);
                self.file.set_header(&self.header)?;
                self.file.push_json(record)
            }
            Record::Skip { id, from_byte } => {
                self.header.skipped.push((*id, *from_byte));
                self.file.set_header(&self.header)
            }
            Record::End => self.file.end(),
            _ => self.file.push_json(record),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(line: u32) -> Place {
        Place {
            source_line: line,
            layer: 0,
            byte_end: u64::from(line) * 10,
            step: 0,
        }
    }

    #[test]
    fn inside_a_run_the_commands_are_counted() {
        let records = [
            Record::Begin { uid: Uuid::nil() },
            Record::Run {
                number: 5,
                after: at(0),
            },
            Record::Aside { number: 20 },
            Record::Run {
                number: 22,
                after: at(15),
            },
        ];
        let program = |after, skip| ResumePoint::Program {
            after: at(after),
            skip,
        };
        assert_eq!(resume_point(&records, 30), program(15, 8));
        assert_eq!(resume_point(&records, 22), program(15, 0));
        assert_eq!(resume_point(&records[..3], 20), program(0, 15));
        assert_eq!(resume_point(&records[..3], 21), program(0, 15));
        // The aside itself got lost, or even the end of the run before it.
        assert_eq!(resume_point(&records, 20), program(0, 15));
        assert_eq!(resume_point(&records, 19), program(0, 14));
        assert_eq!(
            resume_point(&records[..1], 5),
            ResumePoint::Program {
                after: Place::default(),
                skip: 0
            }
        );
        assert_eq!(resume_point(&[], 5), ResumePoint::Lost);
    }

    #[test]
    fn a_head_on_its_way_is_lost_and_a_parked_one_is_parked() {
        let mut records = vec![
            Record::Begin { uid: Uuid::nil() },
            Record::Run {
                number: 5,
                after: at(0),
            },
            Record::Leaving,
            Record::Aside { number: 9 },
        ];
        assert_eq!(resume_point(&records, 12), ResumePoint::Lost);
        records.push(Record::Parked { saved: None });
        assert_eq!(resume_point(&records, 12), ResumePoint::Parked);
        records.push(Record::Run {
            number: 40,
            after: at(4),
        });
        assert_eq!(
            resume_point(&records, 41),
            ResumePoint::Program {
                after: at(4),
                skip: 1
            }
        );
        records.push(Record::End);
        assert_eq!(resume_point(&records, 41), ResumePoint::Lost);
    }

    #[test]
    fn a_job_is_remembered_until_its_end() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("ender3.job");
        let uid = Uuid::from_u128(7);
        let records = [
            Record::Begin { uid },
            Record::Run {
                number: 3,
                after: at(0),
            },
        ];
        let (mut job, left) = JobMemory::open(&path).expect("a file");
        assert_eq!(left, None);
        for record in &records {
            job.keep(record).expect("kept");
        }
        drop(job);
        let (mut job, left) = JobMemory::open(&path).expect("a file");
        assert_eq!(left, Some((uid, records.to_vec())));
        job.keep(&Record::Aside { number: 9 }).expect("kept");
        let (_, left) = JobMemory::open(&path).expect("a file");
        assert_eq!(left.map(|(_, records)| records.len()), Some(3));
        job.keep(&Record::End).expect("kept");
        assert_eq!(JobMemory::open(&path).expect("a file").1, None);
    }

    proptest! {
        /// A sender that writes lines of the program and asides in any mix, dies anywhere, and a
        /// printer that got any of the last numbers: the place is that of the next unsent command.
        #[test]
        fn the_place_is_that_of_the_first_line_the_printer_lacks(
            asides in proptest::collection::vec(any::<bool>(), 1..200),
            behind in 0usize..5,
        ) {
            let mut records = vec![Record::Begin { uid: Uuid::nil() }];
            // For each number, how many commands of the program have been sent before it.
            let mut before = Vec::new();
            let (mut sent, mut in_run, mut number) = (0u32, false, 1u32);
            for aside in &asides {
                if *aside && in_run {
                    records.push(Record::Aside { number });
                    in_run = false;
                } else if !*aside && !in_run {
                    records.push(Record::Run { number, after: at(sent) });
                    in_run = true;
                }
                before.push(sent);
                sent += u32::from(!*aside);
                number += 1;
            }
            before.push(sent);
            let index = before.len() - 1 - behind.min(before.len() - 1);
            let next = index as u32 + 1;
            match resume_point(&records, next) {
                ResumePoint::Program { after, skip } => {
                    prop_assert_eq!(after.source_line + skip, before[index]);
                }
                other => prop_assert!(false, "{:?}", other),
            }
        }
    }
}
