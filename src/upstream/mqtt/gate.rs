//! Which commands may be carried out at all: new ones, meant for now. Pure.
//!
//! A command is for the moment it is sent in. The broker keeps none for us while we are away (clean session), and one
//! that it has kept because the sender asked for that (`retain`) is passed over. Behind bridges and queues messages can
//! still be old: a sender that gives `at` is held to it, one that gives `session` is heard in that session only.
//!
//! Clocks differ. A minute does not matter. For what only stops a printer it is ten minutes, for a wrong clock must
//! not keep a person from stopping it; an emergency stop is not judged by clocks at all.

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::command::{Asked, Wanted};
use crate::printer::command::Command;
use crate::printer::outcome::Refusal;

/// How far the clocks may be apart, and how long a command may have been under way.
const FRESH: SignedDuration = SignedDuration::from_secs(60);
/// The same for what only stops.
const FRESH_STOP: SignedDuration = SignedDuration::from_secs(600);
/// Before this a clock was never set (2025).
const CLOCK_SET_S: i64 = 1_735_689_600;
/// Commands of one printer that are remembered.
pub const REMEMBERED: usize = 500;

/// A command that was taken up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Taken {
    /// Its id.
    pub id: String,
    /// How it ended, once it has.
    pub result: Option<Value>,
}

/// What becomes of a command.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// It is new, and may be carried out.
    Go,
    /// It was taken up before; this is how it ended, if it has.
    Again(Option<Value>),
    /// No.
    No(Refusal),
}

/// The commands of one printer.
#[derive(Clone, Debug, Default)]
pub struct Gate(VecDeque<Taken>);

impl Gate {
    /// As it was kept.
    pub fn restore(taken: Vec<Taken>) -> Self {
        Gate(taken.into())
    }

    /// Ids of commands that were under way when they were kept.
    pub fn unfinished(&self) -> Vec<String> {
        let open = self.0.iter().filter(|taken| taken.result.is_none());
        open.map(|taken| taken.id.clone()).collect()
    }

    /// The newest ones and all that are under way, to keep.
    pub fn kept(&self, most: usize) -> Vec<Taken> {
        let from = self.0.len().saturating_sub(most);
        let numbered = self.0.iter().enumerate();
        let kept = numbered.filter(|(number, taken)| *number >= from || taken.result.is_none());
        kept.map(|(_, taken)| taken.clone()).collect()
    }

    /// Judges a command that came just now. One that may go counts as taken up.
    pub fn judge(&mut self, asked: &Asked, now: Timestamp, session: &str) -> Verdict {
        if let Some(taken) = self.0.iter().find(|t| t.id == asked.id) {
            return Verdict::Again(taken.result.clone());
        }
        if let Err(refusal) = fresh(asked, now, session) {
            return Verdict::No(refusal);
        }
        if self.0.len() >= REMEMBERED {
            let ended = self.0.iter().position(|taken| taken.result.is_some());
            self.0.remove(ended.unwrap_or(0));
        }
        self.0.push_back(Taken {
            id: asked.id.clone(),
            result: None,
        });
        Verdict::Go
    }

    /// One that was taken up was not carried out after all: it is new when it comes again.
    pub fn forget(&mut self, id: &str) {
        self.0.retain(|taken| taken.id != id);
    }

    /// How one ended.
    pub fn ended(&mut self, id: &str, result: &Value) {
        if let Some(taken) = self.0.iter_mut().rev().find(|t| t.id == id) {
            taken.result = Some(result.clone());
        }
    }
}

fn fresh(asked: &Asked, now: Timestamp, session: &str) -> Result<(), Refusal> {
    if matches!(asked.what, Wanted::Command(Command::EmergencyStop)) {
        return Ok(());
    }
    if asked.session.as_deref().is_some_and(|meant| meant != session) {
        return Err(Refusal::new(
            "refused/stale",
            "This command was meant for an earlier session of this host. Look at the printer, then send it anew.",
        ));
    }
    let Some(at) = asked.at else { return Ok(()) };
    let stops = asked.what.stops();
    if now.as_second() < CLOCK_SET_S {
        return match stops {
            true => Ok(()),
            false => Err(Refusal::new(
                "refused/clock",
                "This host's clock is not set, so nobody can tell how old the command is. Set it, or send without `at`.",
            )),
        };
    }
    let age = now.duration_since(at);
    let limit = if stops { FRESH_STOP } else { FRESH };
    if age > limit {
        return Err(Refusal::new(
            "refused/stale",
            format!(
                "This command is {} s old, or the sender's clock is behind. It was not carried out.",
                age.as_secs()
            ),
        ));
    }
    if -age > limit {
        return Err(Refusal::new(
            "refused/clock",
            format!(
                "The sender's clock is {} s ahead of this host's. Set both, for example by NTP.",
                -age.as_secs()
            ),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::super::command;
    use super::*;

    fn asked(id: &str, word: &str, at_s: Option<i64>) -> Asked {
        let mut body = json!({"id": id, "command": word, "at": at_s});
        if word == "gcode" {
            body["lines"] = json!("G28");
        }
        command::read(body.to_string().as_bytes()).expect("understood")
    }

    fn at(s: i64) -> Timestamp {
        Timestamp::from_second(s).expect("in range")
    }

    const NOW: i64 = 1_795_000_000;

    fn code(gate: &mut Gate, asked: &Asked, now: i64) -> &'static str {
        match gate.judge(asked, at(now), "here") {
            Verdict::Go => "go",
            Verdict::Again(_) => "again",
            Verdict::No(refusal) => refusal.code,
        }
    }

    #[test]
    fn the_same_id_is_taken_up_once_and_answered_as_it_ended() {
        let mut gate = Gate::default();
        assert_eq!(gate.judge(&asked("a", "resume", None), at(NOW), "s"), Verdict::Go);
        assert_eq!(
            gate.judge(&asked("a", "gcode", None), at(NOW), "s"),
            Verdict::Again(None)
        );
        gate.ended("a", &json!({"outcome": "verified"}));
        let mut gate = Gate::restore(gate.kept(50));
        assert_eq!(
            gate.judge(&asked("a", "resume", None), at(NOW), "s"),
            Verdict::Again(Some(json!({"outcome": "verified"})))
        );
    }

    #[test]
    fn clocks_may_differ_by_a_minute_and_stopping_by_ten() {
        for (word, age_s, verdict) in [
            ("resume", 59, "go"),
            ("resume", 61, "refused/stale"),
            ("resume", -59, "go"),
            ("resume", -61, "refused/clock"),
            ("resume", 7 * 86_400, "refused/stale"),
            ("pause", 590, "go"),
            ("cancel", -590, "go"),
            ("cancel", 7 * 86_400, "refused/stale"),
            ("emergency_stop", 7 * 86_400, "go"),
        ] {
            let asked = asked("a", word, Some(NOW - age_s));
            assert_eq!(code(&mut Gate::default(), &asked, NOW), verdict, "{word} {age_s}");
        }
    }

    #[test]
    fn a_host_without_a_clock_can_be_stopped_and_not_started() {
        assert_eq!(
            code(&mut Gate::default(), &asked("a", "pause", Some(NOW)), 1000),
            "go"
        );
        assert_eq!(
            code(&mut Gate::default(), &asked("a", "resume", Some(NOW)), 1000),
            "refused/clock"
        );
        assert_eq!(
            code(&mut Gate::default(), &asked("a", "resume", None), 1000),
            "go"
        );
    }

    #[test]
    fn a_command_for_another_session_is_not_for_this_one() {
        let mut old = asked("a", "pause", None);
        old.session = Some("before".to_owned());
        assert_eq!(code(&mut Gate::default(), &old, NOW), "refused/stale");
        old.session = Some("here".to_owned());
        assert_eq!(code(&mut Gate::default(), &old, NOW), "go");
    }

    #[test]
    fn the_memory_is_bounded() {
        let mut gate = Gate::default();
        for n in 0..REMEMBERED * 3 {
            assert_eq!(code(&mut gate, &asked(&n.to_string(), "pause", None), NOW), "go");
        }
        assert_eq!(gate.0.len(), REMEMBERED);
        assert_eq!(gate.kept(50).len(), REMEMBERED, "all are under way");
        let ids: Vec<String> = gate.0.iter().skip(1).map(|taken| taken.id.clone()).collect();
        for id in &ids {
            gate.ended(id, &json!({}));
        }
        assert_eq!(gate.kept(50).len(), 51, "the newest, and the one under way");
        assert_eq!(code(&mut gate, &asked("new", "pause", None), NOW), "go");
        assert_eq!(gate.unfinished().len(), 2, "one under way is forgotten last");
    }

    proptest! {
        /// However often and in whatever order: each id goes once.
        #[test]
        fn each_id_goes_once(ids in proptest::collection::vec(0_u8..20, 0..200)) {
            let mut gate = Gate::default();
            let mut gone = crate::sorted::SortedSet::new();
            for id in ids {
                let go = code(&mut gate, &asked(&id.to_string(), "pause", None), NOW) == "go";
                prop_assert_eq!(go, gone.insert(id));
            }
        }
    }
}
