//! How a completed print leaves the bed by itself: let go, cool or wait, push off. Pure.
//!
//! Only after a print that was completed in this run of the daemon, on a connection that has held since:
//! after a failure, a cancel, a restart or a lost link a person looks first, because nobody knows what
//! stands on the bed or where the head is.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::printer::model::BedStage;

/// A bed reading older than this says nothing.
const FRESH: Duration = Duration::from_secs(30);
/// The bed has to be that cool for so long: one damaged reading releases nothing.
const SETTLED: Duration = Duration::from_secs(5);

/// When the bed counts as released.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ReleaseRules {
    /// So cool, °C.
    pub below_c: Option<f32>,
    /// Or so long after the print, whatever the temperature.
    pub after: Option<Duration>,
    /// After so many beds in a row a person has to look.
    pub max_prints: Option<u32>,
}

/// What is counted; kept over restarts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseCount {
    /// Beds cleared since a person last did.
    pub in_a_row: u32,
    /// Beds cleared since the printer is known.
    pub cleared: u64,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReleaseStep {
    /// Send the lines that let go.
    LetGo,
    /// Send the lines that clear the bed.
    Clear,
    /// The bed is clear.
    Cleared,
    /// A person has to look, for this reason.
    Held(&'static str),
}

/// What is seen of the printer.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// Idle and reachable.
    pub idle: bool,
    /// Bed temperature and the time of its reading.
    pub bed_c: Option<(f32, Instant)>,
}

/// One printer's bed.
#[derive(Clone, Debug)]
pub struct BedRelease {
    rules: ReleaseRules,
    count: ReleaseCount,
    stage: BedStage,
    done_at: Option<Instant>,
    cool_since: Option<Instant>,
}

impl BedRelease {
    /// With what was counted before.
    pub fn new(rules: ReleaseRules, count: ReleaseCount) -> Self {
        BedRelease {
            rules,
            count,
            stage: BedStage::Manual,
            done_at: None,
            cool_since: None,
        }
    }

    /// The rules in force.
    pub fn rules(&self) -> ReleaseRules {
        self.rules
    }

    /// Other rules, at once.
    pub fn set_rules(&mut self, rules: ReleaseRules) {
        self.rules = rules;
        self.cool_since = None;
    }

    /// So many beds count as cleared in a row.
    pub fn set_in_a_row(&mut self, beds: u32) {
        self.count.in_a_row = beds;
    }

    /// While the bed is waited for: when the time alone releases it.
    pub fn due(&self) -> Option<Instant> {
        let waits = matches!(
            self.stage,
            BedStage::Due | BedStage::LettingGo | BedStage::Waiting
        );
        let (done, after) = (self.done_at?, self.rules.after?);
        waits.then(|| done.checked_add(after)).flatten()
    }

    /// What was counted.
    pub fn count(&self) -> ReleaseCount {
        self.count
    }

    /// Where it stands.
    pub fn stage(&self) -> BedStage {
        self.stage
    }

    /// A print was completed.
    pub fn print_done(&mut self, now: Instant) -> Option<ReleaseStep> {
        if self
            .rules
            .max_prints
            .is_some_and(|max| self.count.in_a_row >= max)
        {
            return Some(self.held("So many beds were cleared in a row that a person has to look."));
        }
        self.stage = BedStage::Due;
        self.done_at = Some(now);
        self.cool_since = None;
        None
    }

    /// A print ended in another way, or the connection was lost: nothing is done by itself any more.
    pub fn stop(&mut self, why: &'static str) -> Option<ReleaseStep> {
        (self.stage != BedStage::Manual).then(|| self.held(why))
    }

    /// A person cleared the bed.
    pub fn cleared_by_hand(&mut self) {
        self.stage = BedStage::Manual;
        self.count.in_a_row = 0;
    }

    /// Time passes.
    pub fn tick(&mut self, now: Instant, seen: Seen) -> Option<ReleaseStep> {
        match self.stage {
            BedStage::Due if seen.idle => {
                self.stage = BedStage::LettingGo;
                Some(ReleaseStep::LetGo)
            }
            BedStage::Waiting if seen.idle => {
                let released = self.released(now, seen);
                released.then(|| {
                    self.stage = BedStage::Clearing;
                    ReleaseStep::Clear
                })
            }
            _ => None,
        }
    }

    fn released(&mut self, now: Instant, seen: Seen) -> bool {
        let timed = match (self.rules.after, self.done_at) {
            (Some(after), Some(done)) => now.saturating_duration_since(done) >= after,
            _ => false,
        };
        let cool = match (self.rules.below_c, seen.bed_c) {
            (Some(limit), Some((bed, at))) => bed < limit && now.saturating_duration_since(at) < FRESH,
            _ => false,
        };
        if !cool {
            self.cool_since = None;
        }
        let settled = cool && now.saturating_duration_since(*self.cool_since.get_or_insert(now)) >= SETTLED;
        timed || settled
    }

    /// The lines were sent, or not.
    pub fn sent(&mut self, good: bool) -> Option<ReleaseStep> {
        match (self.stage, good) {
            (BedStage::LettingGo, true) => {
                self.stage = BedStage::Waiting;
                None
            }
            (BedStage::Clearing, true) => {
                self.stage = BedStage::Manual;
                self.count.in_a_row = self.count.in_a_row.saturating_add(1);
                self.count.cleared = self.count.cleared.saturating_add(1);
                Some(ReleaseStep::Cleared)
            }
            (BedStage::LettingGo | BedStage::Clearing, false) => {
                Some(self.held("The printer did not carry out the lines that clear its bed."))
            }
            _ => None,
        }
    }

    fn held(&mut self, why: &'static str) -> ReleaseStep {
        self.stage = BedStage::Manual;
        ReleaseStep::Held(why)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rules() -> ReleaseRules {
        ReleaseRules {
            below_c: Some(35.0),
            after: Some(Duration::from_secs(1800)),
            max_prints: Some(2),
        }
    }

    fn bed(now: Instant, bed_c: f32) -> Seen {
        Seen {
            idle: true,
            bed_c: Some((bed_c, now)),
        }
    }

    fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn a_cool_bed_is_cleared_and_counted() {
        let t = Instant::now();
        let mut r = BedRelease::new(rules(), ReleaseCount::default());
        assert_eq!(r.print_done(t), None);
        assert_eq!(
            r.tick(
                t,
                Seen {
                    idle: false,
                    bed_c: None
                }
            ),
            None,
            "still on its last move"
        );
        assert_eq!(r.tick(t, bed(t, 60.0)), Some(ReleaseStep::LetGo));
        assert_eq!(r.tick(t, bed(t, 20.0)), None, "its lines are on their way");
        assert_eq!(r.sent(true), None);
        assert_eq!(r.tick(t, bed(t, 60.0)), None);
        assert_eq!(
            r.tick(t + secs(600), bed(t + secs(600), 20.0)),
            None,
            "one reading is no proof"
        );
        assert_eq!(r.tick(t + secs(602), bed(t + secs(602), 55.0)), None);
        assert_eq!(r.tick(t + secs(604), bed(t + secs(604), 34.0)), None);
        assert_eq!(
            r.tick(t + secs(640), bed(t, 34.0)),
            None,
            "an old reading says nothing"
        );
        assert_eq!(r.tick(t + secs(700), bed(t + secs(700), 34.0)), None);
        assert_eq!(
            r.tick(t + secs(706), bed(t + secs(706), 34.0)),
            Some(ReleaseStep::Clear)
        );
        assert_eq!(r.sent(true), Some(ReleaseStep::Cleared));
        assert_eq!(
            r.count(),
            ReleaseCount {
                in_a_row: 1,
                cleared: 1
            }
        );
    }

    #[test]
    fn the_time_counts_whatever_the_bed_and_the_row_has_an_end() {
        let t = Instant::now();
        let mut r = BedRelease::new(
            rules(),
            ReleaseCount {
                in_a_row: 1,
                cleared: 40,
            },
        );
        assert_eq!(r.print_done(t), None);
        assert_eq!(r.tick(t, bed(t, 90.0)), Some(ReleaseStep::LetGo));
        r.sent(true);
        let late = t + secs(1800);
        assert_eq!(
            r.tick(
                late,
                Seen {
                    idle: true,
                    bed_c: None
                }
            ),
            Some(ReleaseStep::Clear)
        );
        assert_eq!(r.sent(true), Some(ReleaseStep::Cleared));
        assert!(
            matches!(r.print_done(late), Some(ReleaseStep::Held(_))),
            "two in a row"
        );
        r.cleared_by_hand();
        assert_eq!(
            r.count(),
            ReleaseCount {
                in_a_row: 0,
                cleared: 41
            }
        );
        assert_eq!(r.print_done(late), None);
    }

    proptest! {
        /// The bed is pushed clear only between a completed print and anything that breaks the chain.
        #[test]
        fn nothing_moves_without_a_completed_print(steps in prop::collection::vec((0u8..7, 0.0f32..100.0), 0..80)) {
            let t = Instant::now();
            let mut r = BedRelease::new(ReleaseRules { max_prints: None, ..rules() }, ReleaseCount::default());
            let (mut now, mut chain, mut last) = (t, false, r.count());
            for (what, bed_c) in steps {
                now += secs(7);
                let step = match what {
                    0 => { chain = true; r.print_done(now) }
                    1 => { chain = false; r.stop("failed") }
                    2 => { chain = false; r.cleared_by_hand(); None }
                    3 => r.sent(true),
                    4 => { let s = r.sent(false); if s.is_some() { chain = false; } s }
                    5 => r.tick(now, Seen { idle: false, bed_c: Some((bed_c, now)) }),
                    _ => r.tick(now, bed(now, bed_c)),
                };
                if matches!(step, Some(ReleaseStep::LetGo | ReleaseStep::Clear | ReleaseStep::Cleared)) {
                    prop_assert!(chain);
                }
                if step == Some(ReleaseStep::Cleared) { chain = false; }
                prop_assert!(r.count().cleared >= last.cleared);
                last = r.count();
            }
        }
    }
}
