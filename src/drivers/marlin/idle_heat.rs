//! Hot and idle: heaters that layerd set, or that its own job left on, go off after a while.
//!
//! Targets that others set (the printer's own screen) are only told of, with a button.

use std::time::{Duration, Instant};

use uuid::Uuid;

use super::proto::{Marlin, Phase, Warmth};
use crate::printer::command::RequestId;
use crate::printer::event::Event;
use crate::printer::model::{Heater, Now, Position};
use crate::printer::notice::{Level, Notice};
use crate::printer::outcome::Outcome;
use crate::sorted::SortedMap;

/// Key of the notice about heat of others.
const NOTICE: &str = "marlin/idle-heat";
/// A printer that does not say where its head is within this is taken to stand still.
const POSITION_PATIENCE: Duration = Duration::from_secs(30);

/// What is known about heat while nothing prints.
#[derive(Debug, Default)]
pub struct IdleHeat {
    /// Targets that are ours, °C.
    ours: SortedMap<Heater, f32>,
    /// Idle and hot since.
    since: Option<Instant>,
    position: Option<Position>,
    /// When the printer last told where its head is, and when it was asked.
    seen: Option<Instant>,
    asked_where: Option<Instant>,
    told: bool,
    /// A person wants it warm until then, in a pause or without a job.
    pub(super) keep_until: Option<Instant>,
}

impl IdleHeat {
    /// A target was set through us.
    pub fn ours(&mut self, now: Instant, heater: Heater, target_c: f32) {
        if target_c > 0.0 {
            self.ours.insert(heater, target_c);
        } else {
            self.ours.remove(&heater);
        }
        self.since = Some(now);
    }

    /// A job begins: the clock stops.
    pub fn job_begins(&mut self) {
        self.since = None;
        self.keep_until = None;
    }

    /// The job did something with heat.
    pub fn job_touches(&mut self, _now: Instant) {
        self.since = None;
    }

    /// A job is over; what it left on is ours.
    pub fn job_ends(&mut self, now: Instant, warmth: &SortedMap<Heater, Warmth>) {
        self.ours = warmth
            .iter()
            .filter_map(|(h, w)| Some((*h, w.target_c.filter(|t| *t > 0.0)?)))
            .collect();
        self.since = Some(now);
    }

    /// Everything is off.
    pub fn forget(&mut self) {
        self.ours.clear();
        self.since = None;
    }

    /// Anything of ours may be hot.
    pub fn any_ours(&self) -> bool {
        !self.ours.is_empty()
    }

    /// The notice with the button is open.
    pub fn asked(&self) -> bool {
        self.told
    }
}

impl Marlin {
    pub(super) fn idle_heat_moved(&mut self, now: Now, position: Position) {
        self.idle_heat.seen = Some(now.mono);
        if self.idle_heat.position != Some(position) {
            self.idle_heat.position = Some(position);
            if self.phase == Phase::Idle {
                self.idle_heat.since = None;
            }
        }
    }

    fn hot(&self) -> bool {
        self.warmth.values().any(|w| w.target_c.is_some_and(|t| t > 0.0))
    }

    pub(super) fn idle_heat_tick(&mut self, now: Now) {
        let Some(limit) = self.settings.idle_heaters_off else {
            return;
        };
        if self.phase != Phase::Idle || self.job.is_some() || self.outside.running() || !self.hot() {
            self.idle_heat.since = None;
            if std::mem::take(&mut self.idle_heat.told) {
                self.event(Event::NoticeCleared(NOTICE.to_owned()));
            }
            return;
        }
        let since = match self.idle_heat.since {
            Some(since) => since,
            None => {
                // Where it stands now is what it is held against later.
                self.idle_heat.since = Some(now.mono);
                self.idle_heat.asked_where = None;
                self.reports.position_wanted = true;
                return;
            }
        };
        let due = since + limit;
        if now.mono < due || self.idle_heat.keep_until.is_some_and(|until| now.mono < until) {
            return;
        }
        // Another program may move it on another port: that is no idle printer.
        let asked = *self.idle_heat.asked_where.get_or_insert_with(|| {
            self.reports.position_wanted = true;
            now.mono
        });
        if self.idle_heat.seen.is_none_or(|seen| seen < asked) && now.mono < asked + POSITION_PATIENCE {
            return;
        }
        let all_ours = self.warmth.iter().all(|(heater, w)| match w.target_c {
            Some(target) if target > 0.0 => self
                .idle_heat
                .ours
                .get(heater)
                .is_some_and(|ours| (ours - target).abs() < 1.0),
            _ => true,
        });
        if all_ours {
            self.idle_heat.since = Some(now.mono);
            self.idle_heat.asked_where = None;
            let steps = self.cold_steps();
            self.then(steps);
            self.notify(
                now,
                "The heaters were switched off: the printer stood idle.",
                "",
                &[],
            );
        } else if !std::mem::replace(&mut self.idle_heat.told, true) {
            self.notify(
                now,
                "The printer is hot and does nothing.",
                "The heaters were switched on at the printer or by another program.",
                &["Turn heaters off"],
            );
        }
    }

    /// Leaves heaters on that would be switched off in a long pause, or because nothing prints.
    pub(super) fn keep_warm(&mut self, now: Now, id: RequestId, time: Duration) {
        let cooled = matches!(self.phase, Phase::Paused(_))
            && self
                .saved
                .as_ref()
                .is_some_and(|s| s.cooled && s.firmware.is_none());
        let outcome = if cooled && !time.is_zero() {
            Outcome::refused(
                "refused/nozzle-off",
                "The nozzle is off already; a resume heats it again. To warm it now, send its temperature.",
            )
        } else {
            self.idle_heat.keep_until = Some(now.mono + time).filter(|_| !time.is_zero());
            Outcome::Verified
        };
        self.reply(id, outcome);
    }

    fn notify(&mut self, now: Now, title: &str, text: &str, buttons: &[&str]) {
        self.event(Event::Notice(Notice {
            id: Uuid::new_v4(),
            key: NOTICE.to_owned(),
            level: Level::Warning,
            title: title.to_owned(),
            text: text.to_owned(),
            code: Some(NOTICE.to_owned()),
            buttons: buttons.iter().map(|b| (*b).to_owned()).collect(),
            at: now.wall,
        }));
    }

    pub(super) fn idle_heat_deadline(&self) -> Option<Instant> {
        let limit = self.settings.idle_heaters_off?;
        if self.idle_heat.told {
            return None;
        }
        let due = self.idle_heat.since? + limit;
        let due = self.idle_heat.keep_until.map_or(due, |until| due.max(until));
        Some(
            self.idle_heat
                .asked_where
                .map_or(due, |asked| asked + POSITION_PATIENCE),
        )
    }
}
