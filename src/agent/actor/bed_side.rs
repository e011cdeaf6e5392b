//! The bed is cleared by the printer itself after a completed print, where that is configured.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Actor;
use crate::agent::clock;
use crate::agent::handle::{BedChange, PrinterHandle};
use crate::config::model::Release;
use crate::config::template::{Template, Variable};
use crate::job::release::{BedRelease, ReleaseCount, ReleaseRules, ReleaseStep, Seen};
use crate::job::store::Store;
use crate::json;
use crate::printer::command::Command;
use crate::printer::event::Event;
use crate::printer::guard::guard;
use crate::printer::model::{BedCycle, BedStage, Heater, StateWord};
use crate::printer::notice::{Level, Notice};
use crate::printer::outcome::Outcome;
use crate::printer::reduce::reduce;

/// Key of the notice that a person has to look at the bed.
const BED: &str = "bed";

/// The rules with their lines.
#[derive(Debug)]
pub(super) struct ReleaseSide {
    release: BedRelease,
    settings: Release,
    wishes: Wishes,
    /// Of the print that is on the bed.
    file: String,
}

/// What a person changed; kept over restarts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Wishes {
    off: bool,
    rules: Option<ReleaseRules>,
}

/// By number: a printer may be renamed.
fn key(id: i64) -> String {
    format!("release/{id}")
}

fn wishes_key(id: i64) -> String {
    format!("release-wishes/{id}")
}

/// A kept value; one that cannot be read is none.
async fn kept<T: DeserializeOwned + Default>(store: &Store, printer: &str, key: &str) -> T {
    let text = store.setting(key).await.unwrap_or_else(|error| {
        tracing::error!(
            printer,
            "what was kept about clearing the bed could not be read: {error}"
        );
        None
    });
    text.and_then(|text| json::read(&text).ok()).unwrap_or_default()
}

fn rules(settings: &Release, wishes: &Wishes) -> ReleaseRules {
    wishes.rules.unwrap_or(ReleaseRules {
        below_c: settings.below_c,
        after: settings.after,
        max_prints: settings.max_prints,
    })
}

/// The rules of a printer, with what was counted before.
pub(super) async fn load(
    store: &Store,
    printer: (i64, &str),
    settings: Option<&Release>,
) -> Option<ReleaseSide> {
    let settings = settings?.clone();
    let (id, printer) = printer;
    let count: ReleaseCount = kept(store, printer, &key(id)).await;
    let wishes: Wishes = kept(store, printer, &wishes_key(id)).await;
    Some(ReleaseSide {
        release: BedRelease::new(rules(&settings, &wishes), count),
        settings,
        wishes,
        file: String::new(),
    })
}

impl Actor {
    /// A print was completed.
    pub(super) fn release_begins(&mut self, file: &str) {
        let Some(side) = &mut self.release else { return };
        if side.wishes.off {
            return;
        }
        file.clone_into(&mut side.file);
        let step = side.release.print_done(clock::now().mono);
        self.release_step(step);
    }

    /// The chain is broken: a person has to look.
    pub(super) fn release_stops(&mut self, why: &'static str) {
        let step = self.release.as_mut().and_then(|side| side.release.stop(why));
        self.release_step(step);
    }

    pub(super) fn release_by_hand(&mut self) {
        if let Some(side) = &mut self.release {
            side.release.cleared_by_hand();
            self.raise_cleared(BED);
            self.keep_release();
        }
    }

    /// A person changes the rules. Nothing begins by it: a bed that waits for a person goes on waiting.
    pub(super) fn release_changes(&mut self, change: BedChange) -> Outcome {
        let Some(side) = &mut self.release else {
            return Outcome::refused(
                "refused/no-release",
                "This printer cannot clear its bed by itself: there is no `release` in its configuration.",
            );
        };
        let mut step = None;
        match change {
            BedChange::On(on) => {
                side.wishes.off = !on;
                if !on {
                    step = side.release.stop("Clearing it by itself was switched off.");
                }
            }
            BedChange::Rules(wanted) => {
                side.wishes.rules = wanted;
                side.release.set_rules(rules(&side.settings, &side.wishes));
            }
            BedChange::InARow(beds) => side.release.set_in_a_row(beds),
        }
        self.note(match change {
            BedChange::On(true) => "the bed is to be cleared by itself".to_owned(),
            BedChange::On(false) => "the bed is not to be cleared by itself any more".to_owned(),
            BedChange::Rules(Some(_)) => "other rules for clearing the bed".to_owned(),
            BedChange::Rules(None) => "the bed is cleared by the rules of the configuration".to_owned(),
            BedChange::InARow(beds) => format!("{beds} beds count as cleared in a row"),
        });
        self.keep_release();
        self.keep_wishes();
        self.release_step(step);
        Outcome::Verified
    }

    fn keep_wishes(&mut self) {
        let Some(side) = &self.release else { return };
        let Ok(text) = serde_json::to_string(&side.wishes) else {
            return;
        };
        let (store, id) = (self.means.store.clone(), self.shared.id);
        self.chores.push(Box::pin(async move {
            store.set_setting(&wishes_key(id), Some(&text)).await
        }));
    }

    pub(super) fn release_tick(&mut self) {
        let now = clock::now().mono;
        let seen = Seen {
            idle: self.state.word() == StateWord::Operational && self.state.is_up() && self.job.is_none(),
            bed_c: self.state.heaters.get(&Heater::Bed).map(|h| (h.actual_c, h.at)),
        };
        let step = self
            .release
            .as_mut()
            .and_then(|side| side.release.tick(now, seen));
        self.release_step(step);
    }

    /// The printer has answered for the lines.
    pub(super) fn release_sent(&mut self, outcome: &Outcome) {
        if !outcome.is_ok() {
            self.note(format!("clearing the bed: {}", outcome.message()));
        }
        let step = self
            .release
            .as_mut()
            .and_then(|side| side.release.sent(outcome.is_ok()));
        self.release_step(step);
    }

    fn release_step(&mut self, step: Option<ReleaseStep>) {
        let Some(side) = &self.release else { return };
        match step {
            None => {}
            Some(ReleaseStep::LetGo) => self.release_send(side.settings.done.clone()),
            Some(ReleaseStep::Clear) => self.release_send(side.settings.clear.clone()),
            Some(ReleaseStep::Cleared) => {
                let count = side.release.count();
                self.state.bed_dirty = false;
                self.keep_bed(false);
                self.keep_release();
                self.note(format!("bed cleared by itself, {} in a row", count.in_a_row));
            }
            Some(ReleaseStep::Held(why)) => {
                self.note(format!("the bed waits for a person: {why}"));
                let now = clock::now();
                let notice = Notice {
                    id: uuid::Uuid::new_v4(),
                    key: BED.to_owned(),
                    level: Level::Warning,
                    title: "The bed has to be cleared by hand.".to_owned(),
                    text: format!("{why} Take the print off, then clear the bed (layerd clear PRINTER)."),
                    code: Some("job/bed-by-hand".to_owned()),
                    buttons: Vec::new(),
                    at: now.wall,
                };
                reduce(&mut self.state, now, Event::Notice(notice));
            }
        }
        let cycle = self.release.as_ref().map(|side| BedCycle {
            on: !side.wishes.off,
            own_rules: side.wishes.rules.is_some(),
            below_c: side.release.rules().below_c,
            after_s: side
                .release
                .rules()
                .after
                .and_then(|after| u32::try_from(after.as_secs()).ok()),
            due: side.release.due(),
            max_prints: side.release.rules().max_prints,
            stage: side.release.stage(),
            in_a_row: side.release.count().in_a_row,
            cleared: side.release.count().cleared,
        });
        if self.state.bed_cycle != cycle {
            self.state.bed_cycle = cycle;
            self.dirty = true;
        }
    }

    fn release_send(&mut self, template: Template) {
        let mut values = PrinterHandle {
            shared: self.shared.clone(),
        }
        .values();
        if let Some(side) = &self.release {
            values.insert(Variable::File, side.file.clone());
        }
        let mut lines = template.lines(&values);
        if lines.is_empty() {
            return self.release_sent(&Outcome::Sent);
        }
        // The bed is clear when the last of it has been done, not when it was read.
        lines.push("M400".to_owned());
        let command = Command::SendGcode { lines, tune: false };
        let sent = guard(&self.state, &self.limits(), &command).and_then(|()| self.hand_on(command));
        match sent {
            Ok(pending) => self.releases.push(Box::pin(pending.outcome())),
            Err(refusal) => self.release_sent(&Outcome::Refused(refusal)),
        }
    }

    fn keep_release(&mut self) {
        let Some(side) = &self.release else { return };
        let Ok(text) = serde_json::to_string(&side.release.count()) else {
            return;
        };
        let (store, id) = (self.means.store.clone(), self.shared.id);
        self.chores.push(Box::pin(
            async move { store.set_setting(&key(id), Some(&text)).await },
        ));
    }

    /// Whether lines of the release are on their way: nobody else starts anything then.
    pub(super) fn release_moves(&self) -> bool {
        self.release
            .as_ref()
            .is_some_and(|side| matches!(side.release.stage(), BedStage::LettingGo | BedStage::Clearing))
    }
}
