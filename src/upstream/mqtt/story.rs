//! What became of the prints, in order and each thing once, read from the records of the jobs. Pure.
//!
//! Snapshots tell how things are, and a short pause can fall between two of them; the records tell all that happened,
//! also while nobody listened or the daemon was restarted.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::outbox::{Entry, Kind};
use super::view;
use crate::job::machine::TIMELINE_MAX;
use crate::job::record::{JobRecord, TimelineEntry};
use crate::json::json;

/// Up to where it was told.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cursor {
    /// Number of the job that was told of last.
    pub job: i64,
    /// Its last entry that was told.
    pub told: Option<TimelineEntry>,
    /// How many of its entries that were.
    #[serde(default)]
    pub count: Option<usize>,
}

impl Cursor {
    /// Nothing of what happened before today is news.
    pub fn at_end(newest: Option<&JobRecord>) -> Self {
        Cursor {
            job: newest.map_or(0, |record| record.id),
            told: newest.and_then(|record| record.timeline.last().cloned()),
            count: newest.map(|record| record.timeline.len()),
        }
    }

    /// The entries that are new in a record, which is the one at the cursor or a later one; the cursor goes on.
    pub fn advance(&mut self, record: &JobRecord) -> Vec<Entry> {
        if record.id < self.job {
            return Vec::new();
        }
        let from = match &self.told {
            Some(told) if record.id == self.job => {
                let known = record.timeline.iter().rposition(|entry| entry == told);
                let len = record.timeline.len();
                // The clock was set, and the times of the print went along: it is the same story. But the story of a
                // long print loses entries in its middle: then time decides.
                let counted = self.count.filter(|count| *count <= len && len < TIMELINE_MAX);
                let later = || {
                    record
                        .timeline
                        .iter()
                        .position(|entry| entry.at > told.at)
                        .unwrap_or(len)
                };
                known.map_or_else(|| counted.unwrap_or_else(later), |at| at + 1)
            }
            _ => 0,
        };
        self.job = record.id;
        self.count = Some(record.timeline.len());
        let new = record.timeline.get(from..).unwrap_or_default();
        if let Some(last) = new.last() {
            self.told = Some(last.clone());
        } else if from == 0 {
            self.told = None;
        }
        new.iter().map(|entry| event(record, entry)).collect()
    }
}

fn event(record: &JobRecord, entry: &TimelineEntry) -> Entry {
    let (what, why) = match entry.what.split_once(": ") {
        Some((what, why)) => (what, Some(why)),
        None => (entry.what.as_str(), None),
    };
    let word: String = what
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_lowercase()
            } else {
                '_'
            }
        })
        .take(40)
        .collect();
    let key = format!("{}/{word}/{}", record.uid, entry.at.as_millisecond());
    let body = json!({
        "id": key,
        "event": format!("job.{word}"),
        "at": time_ms(entry.at),
        "why": why,
        "job": job(record),
    });
    Entry {
        key,
        kind: Kind::Job,
        body,
    }
}

fn job(record: &JobRecord) -> Value {
    json!({
        "uid": record.uid,
        "id": record.id,
        "file": view::cut(&record.file),
        "state": record.state,
        "percent": record.percent.map(|p| (f64::from(p) * 10.0).round() / 10.0),
        "started": record.started.map(time_ms),
        "ended": record.ended.map(time_ms),
        "ended_by": record.ended_by,
        "fault": record.fault.as_ref().map(|f| json!({"code": f.code, "message": view::cut(&f.to_string())})),
        "filament_mm": record.filament_mm,
        "skipped": record.skipped,
    })
}

/// RFC 3339 in UTC with milliseconds.
pub fn time_ms(at: Timestamp) -> String {
    format!("{at:.3}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::printer::model::Origin;

    fn record(id: i64, story: &[(i64, &str)]) -> JobRecord {
        let mut record = JobRecord::new(
            Uuid::from_u128(id.unsigned_abs().into()),
            "p",
            "cube.gcode",
            Origin::Ours,
            Timestamp::UNIX_EPOCH,
        );
        record.id = id;
        record.timeline = story
            .iter()
            .map(|(at, what)| TimelineEntry {
                at: Timestamp::from_second(*at).expect("in range"),
                what: (*what).to_owned(),
            })
            .collect();
        record
    }

    fn words(entries: &[Entry]) -> Vec<String> {
        entries
            .iter()
            .map(|e| e.body["event"].as_str().expect("a word").to_owned())
            .collect()
    }

    #[test]
    fn a_print_is_told_as_it_goes_on_and_history_is_no_news() {
        let old = record(4, &[(1, "started"), (2, "done")]);
        let mut cursor = Cursor::at_end(Some(&old));
        assert!(cursor.advance(&old).is_empty());
        let mut story = vec![(10, "started")];
        assert_eq!(words(&cursor.advance(&record(5, &story))), ["job.started"]);
        story.extend([
            (11, "paused: requested"),
            (12, "resumed"),
            (12, "objects skipped"),
        ]);
        let told = cursor.advance(&record(5, &story));
        assert_eq!(words(&told), ["job.paused", "job.resumed", "job.objects_skipped"]);
        assert_eq!(told[0].body["why"], "requested");
        assert!(cursor.advance(&record(5, &story)).is_empty(), "once");
        assert!(cursor.advance(&old).is_empty());
        assert_eq!(
            words(&cursor.advance(&record(9, &[(20, "failed")]))),
            ["job.failed"]
        );
    }

    #[test]
    fn a_story_that_lost_its_middle_goes_on_by_time() {
        let full = |from: i64, end: &'static str| {
            let mut story: Vec<(i64, &str)> = (from..)
                .map(|at| (at, "resumed"))
                .take(TIMELINE_MAX - 1)
                .collect();
            story.insert(0, (1, "started"));
            story[TIMELINE_MAX - 1].1 = end;
            record(1, &story)
        };
        let mut cursor = Cursor::default();
        assert_eq!(cursor.advance(&full(2, "resumed")).len(), TIMELINE_MAX);
        let told = cursor.advance(&full(302, "done"));
        assert_eq!(
            told.len(),
            TIMELINE_MAX - 1,
            "the first is old, what is gone is gone"
        );
        assert_eq!(words(&told).last().map(String::as_str), Some("job.done"));
    }

    #[test]
    fn a_clock_that_is_set_tells_nothing_twice_and_leaves_nothing_out() {
        let story = |by: i64, more: &[(i64, &'static str)]| {
            let all = [&[(1000, "started"), (1001, "heated")], more].concat();
            let moved: Vec<(i64, &str)> = all.iter().map(|(at, what)| (at + by, *what)).collect();
            record(1, &moved)
        };
        for by in [31_536_000, -900] {
            let mut cursor = Cursor::default();
            assert_eq!(cursor.advance(&story(0, &[])).len(), 2);
            assert!(cursor.advance(&story(by, &[])).is_empty(), "{by}");
            let told = cursor.advance(&story(by, &[(1002, "done")]));
            assert_eq!(words(&told), ["job.done"], "{by}");
        }
    }

    proptest! {
        /// However often it is looked at on the way: everything once and in order.
        #[test]
        fn everything_is_told_once_and_in_order(looks in proptest::collection::vec(0_usize..40, 0..40)) {
            let all: Vec<(i64, String)> = (0..40).map(|n| (n / 3, format!("step {n}"))).collect();
            let story: Vec<(i64, &str)> = all.iter().map(|(at, what)| (*at, what.as_str())).collect();
            let mut looks = looks;
            looks.sort_unstable();
            looks.push(40);
            let mut cursor = Cursor::default();
            let mut told = Vec::new();
            for until in looks {
                told.extend(cursor.advance(&record(1, &story[..until])));
            }
            let wanted: Vec<String> = (0..40).map(|n| format!("job.step_{n}")).collect();
            prop_assert_eq!(words(&told), wanted);
        }
    }
}
