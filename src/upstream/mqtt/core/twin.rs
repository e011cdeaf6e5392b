//! Whether another host publishes under our name: two that do overwrite each other's printers, and a command reaches both.
//!
//! What is told of a host holds the session of its run. Another session that is told while we are here is another host.
//! What the broker has kept is not, as long as it may be from our own last run; once we have published ourselves it is.

use std::time::{Duration, Instant};

use crate::sorted::SortedSet;

/// So long after the last word of the other one it counts as gone: hosts tell of themselves every minute.
const GONE_AFTER: Duration = Duration::from_secs(600);
/// Sessions of before that are remembered: one, unless somebody plays with the broker.
const FORMER_MAX: usize = 8;

/// What is known of another host of our name.
#[derive(Debug, Default)]
pub struct Twin {
    former: SortedSet<String>,
    heard_at: Option<Instant>,
}

impl Twin {
    /// A host of our name tells of itself in another session than ours; `kept` by the broker, `told`: we have told of
    /// ourselves in this run. Whether that is news.
    pub fn heard(&mut self, now: Instant, session: &str, kept: bool, told: bool) -> bool {
        if kept && (!told || self.former.contains(session)) {
            if self.former.len() < FORMER_MAX {
                self.former.insert(session.to_owned());
            }
            return false;
        }
        self.heard_at.replace(now).is_none()
    }

    /// Whether it was here and is gone; once.
    pub fn is_gone(&mut self, now: Instant) -> bool {
        let gone = |at: &mut Instant| now.saturating_duration_since(*at) >= GONE_AFTER;
        self.heard_at.take_if(gone).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_last_run_is_no_other_host_and_another_one_is_told_once() {
        let begin = Instant::now();
        let later = |s| begin + Duration::from_secs(s);
        let mut twin = Twin::default();
        assert!(!twin.heard(begin, "last run", true, false));
        // The link broke before the broker had heard of this run.
        assert!(!twin.heard(later(9), "last run", true, true));
        assert!(!twin.is_gone(later(9)));
        assert!(
            twin.heard(later(10), "other", true, true),
            "somebody wrote over us"
        );
        assert!(!twin.heard(later(70), "other", false, true), "that is known");
        assert!(!twin.is_gone(later(669)) && twin.is_gone(later(670)) && !twin.is_gone(later(671)));
        assert!(
            twin.heard(later(680), "last run", false, true),
            "it was not ours after all"
        );
    }
}
