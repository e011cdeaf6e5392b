//! Where the printer needs a person: prompts with buttons, waits, actions of the host protocol.

use std::collections::VecDeque;

use uuid::Uuid;

use super::answer::Busy;
use super::proto::{Marlin, Output, Phase};
use super::scan::trim;
use super::silence::Patience;
use crate::printer::command::RequestId;
use crate::printer::event::{Event, OutsideEnd};
use crate::printer::model::{Now, PauseReason};
use crate::printer::notice::{Level, Notice};
use crate::printer::outcome::Outcome;

/// Key of the notice that stands for the printer's dialog.
const PROMPT: &str = "marlin/prompt";
/// Key of the notice that stands for a wait without a dialog.
const WAITING: &str = "marlin/waits-for-person";
/// Key of the notice with the button that goes on after a filament change or a pause of the program.
const RESUME: &str = "marlin/paused";
/// Most buttons of a dialog, and longest text.
const BUTTONS_MAX: usize = 10;
const TEXT_MAX: usize = 200;

/// What is asked of people.
#[derive(Debug, Default)]
pub struct People {
    text: String,
    buttons: Vec<String>,
    shown: bool,
    waiting: bool,
    /// The notice with the button to resume is open.
    resume: bool,
}

impl People {
    /// The printer waits for somebody.
    pub fn asks(&self) -> bool {
        self.shown || self.waiting
    }

    /// Nothing is asked any more.
    pub fn forget(&mut self, out: &mut VecDeque<Output>) {
        if std::mem::take(&mut self.shown) {
            out.push_back(Output::Event(Event::NoticeCleared(PROMPT.to_owned())));
        }
        if std::mem::take(&mut self.waiting) {
            out.push_back(Output::Event(Event::NoticeCleared(WAITING.to_owned())));
        }
        if std::mem::take(&mut self.resume) {
            out.push_back(Output::Event(Event::NoticeCleared(RESUME.to_owned())));
        }
        self.text.clear();
        self.buttons.clear();
    }
}

fn words(text: &[u8]) -> String {
    String::from_utf8_lossy(trim(text))
        .chars()
        .take(TEXT_MAX)
        .collect()
}

impl Marlin {
    /// `//action:` lines.
    pub(super) fn action(&mut self, now: Now, action: &[u8]) {
        let (name, rest) = match action.iter().position(|b| *b == b' ') {
            Some(at) => action.split_at_checked(at).unwrap_or((action, b"")),
            None => (action, &b""[..]),
        };
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        match name.as_str() {
            "pause" if self.job.is_some() => self.begin_pause_unless_standing(now, PauseReason::Printer),
            "paused" => self.firmware_paused(now, PauseReason::Printer),
            "resume" | "resumed" => self.firmware_resumed(now),
            "cancel" if self.job.is_some() => self.cancel(now, None),
            "cancel" if self.outside.running() => self.outside_ended(OutsideEnd::Cancelled),
            "out_of_filament" => {
                self.filament_out(rest);
                self.tell(now, "marlin/runout", "The filament has run out.", &words(rest));
                self.begin_pause_unless_standing(now, PauseReason::Runout);
            }
            "notification" => self.event(Event::Message(words(rest))),
            "prompt_begin" => {
                self.people.text = words(rest);
                self.people.buttons.clear();
            }
            "prompt_choice" | "prompt_button" if self.people.buttons.len() < BUTTONS_MAX => {
                self.people.buttons.push(words(rest));
            }
            "prompt_show" => self.show_prompt(now),
            "prompt_end" => {
                if std::mem::take(&mut self.people.shown) {
                    self.event(Event::NoticeCleared(PROMPT.to_owned()));
                }
                // The dialog's first lines may have been lost, so that only a wait was seen.
                self.person_done();
            }
            "probe_failed" => self.tell(now, "marlin/probing-failed", "Bed probing failed.", &words(rest)),
            "probe_rewipe" | "probe_retry" => {
                self.event(Event::Message(
                    "The printer wipes its nozzle and probes again.".to_owned(),
                ));
            }
            "start" | "disconnect" | "shutdown" | "poweroff" | "sd_inserted" | "sd_ejected"
            | "sd_updated" => {}
            _ => {}
        }
    }

    /// The firmware asks the host to pause, or says why it will.
    fn begin_pause_unless_standing(&mut self, now: Now, why: PauseReason) {
        if self.phase == Phase::Printing {
            self.begin_pause(now, why, None);
        }
    }

    /// `paused`: the printer stands still by its own means.
    fn firmware_paused(&mut self, now: Now, why: PauseReason) {
        if self.job.is_some() {
            // A line that waits for a person is over with its own `ok`; any other front was only passed.
            let waits = self.sender.patience() == Patience::Person;
            let over_with = self.sender.front().filter(|_| waits);
            let why = self.why_it_waits().unwrap_or(why);
            self.paused_by_firmware(now, why, over_with);
            self.ask_to_resume(now, why);
        } else {
            self.outside_paused();
        }
    }

    /// What the line at work says about the reason.
    fn why_it_waits(&self) -> Option<PauseReason> {
        let text = self.sender.text(self.sender.front()?);
        (text.contains(" M600") || text.contains(" M701") || text.contains(" M702"))
            .then_some(PauseReason::FilamentChange)
    }

    /// A pause that needs hands at the printer gets a button to go on with.
    pub(super) fn ask_to_resume(&mut self, now: Now, why: PauseReason) {
        let (title, text) = match why {
            PauseReason::Runout => ("The filament has run out.", "Load new filament, then resume."),
            PauseReason::FilamentChange => {
                ("The print waits for another filament.", "Change it, then resume.")
            }
            PauseReason::Program => (
                "The program asks for a pause.",
                "Resume when everything is ready.",
            ),
            PauseReason::Printer => (
                "The print was paused at the printer.",
                "It goes on from here or from there.",
            ),
            PauseReason::Requested | PauseReason::Stopping => return,
        };
        // The printer's own dialog has its own buttons.
        if self.people.shown || self.people.waiting {
            return;
        }
        self.people.resume = true;
        self.event(Event::Notice(Notice {
            id: Uuid::new_v4(),
            key: RESUME.to_owned(),
            level: Level::Warning,
            title: title.to_owned(),
            text: text.to_owned(),
            code: Some(RESUME.to_owned()),
            buttons: vec!["Resume".to_owned()],
            at: now.wall,
        }));
    }

    /// Nobody has to press that button any more.
    pub(super) fn resume_is_settled(&mut self) {
        if std::mem::take(&mut self.people.resume) {
            self.event(Event::NoticeCleared(RESUME.to_owned()));
        }
    }

    fn firmware_resumed(&mut self, now: Now) {
        self.want_filament();
        if self.job.is_some() {
            self.resumed_by_firmware(now);
        } else {
            self.outside_resumed();
        }
    }

    /// Ends the firmware's own pause.
    pub(super) fn let_firmware_go_on(&mut self, now: Now) {
        if self.people.shown {
            self.press(now, 0);
        } else {
            self.sender.push_loose(now.mono, b"M108", true);
        }
    }

    fn show_prompt(&mut self, now: Now) {
        self.people.shown = true;
        self.resume_is_settled();
        self.person_done();
        let title = if self.people.text.is_empty() {
            "The printer asks something.".to_owned()
        } else {
            self.people.text.clone()
        };
        self.event(Event::Notice(Notice {
            id: Uuid::new_v4(),
            key: PROMPT.to_owned(),
            level: Level::Warning,
            title,
            text: "Answer here or at the printer.".to_owned(),
            code: None,
            buttons: self.people.buttons.clone(),
            at: now.wall,
        }));
    }

    fn tell(&mut self, now: Now, key: &str, title: &str, text: &str) {
        self.event(Event::Notice(Notice {
            id: Uuid::new_v4(),
            key: key.to_owned(),
            level: Level::Warning,
            title: title.to_owned(),
            text: text.to_owned(),
            code: Some(key.to_owned()),
            buttons: Vec::new(),
            at: now.wall,
        }));
    }

    /// `busy` lines.
    pub(super) fn busy(&mut self, now: Now, busy: Busy) {
        self.sender.busy(now.mono, true);
        match busy {
            Busy::Processing => self.person_done(),
            // The print is lost and nothing is to go on. And it may be a word of ours that made it wait: those
            // before the handshake have no checksum, and `M104` damaged is soon an `M1`.
            Busy::Person if self.phase == Phase::Hello && self.is_cold_first() => {
                self.sender.push_loose(now.mono, b"M108", true);
            }
            Busy::Person => {
                // It waits for an answer, so there is one: the line with its button got lost.
                if self.people.shown && self.people.buttons.is_empty() {
                    self.people.buttons.push("Continue".to_owned());
                    self.show_prompt(now);
                    return;
                }
                if self.people.shown || std::mem::replace(&mut self.people.waiting, true) {
                    return;
                }
                // Without host actions this is all that a filament change says.
                if let Some(front) = self.sender.front() {
                    let why = self.why_it_waits().unwrap_or(PauseReason::Printer);
                    self.paused_by_firmware(now, why, Some(front));
                }
                self.resume_is_settled();
                self.event(Event::Notice(Notice {
                    id: Uuid::new_v4(),
                    key: WAITING.to_owned(),
                    level: Level::Warning,
                    title: "The printer waits for a person.".to_owned(),
                    text: "Look at its screen; it goes on with its knob, or with this button.".to_owned(),
                    code: None,
                    buttons: vec!["Continue".to_owned()],
                    at: now.wall,
                }));
            }
        }
    }

    /// Nobody is waited for any more.
    pub(super) fn person_done(&mut self) {
        if std::mem::take(&mut self.people.waiting) {
            self.event(Event::NoticeCleared(WAITING.to_owned()));
        }
    }

    /// `wait`: idle with an empty queue. With something in flight since before, its `ok` was lost.
    pub(super) fn wait_line(&mut self, _now: Now) {
        if self.quirks.wait_is_idle && self.reports.second_wait(self.sender.front()) {
            self.sender.ask();
        }
    }

    pub(super) fn answer_prompt(&mut self, now: Now, id: RequestId, button: u8) {
        if self.people.shown {
            if usize::from(button) >= self.people.buttons.len().max(1) {
                self.reply(
                    id,
                    Outcome::refused("refused/no-such-button", "The prompt has no such button."),
                );
                return;
            }
            self.press(now, button);
            self.reply(id, Outcome::Sent);
        } else if self.people.waiting {
            self.sender.push_loose(now.mono, b"M108", true);
            self.reply(id, Outcome::Sent);
        } else if self.people.resume && button == 0 {
            self.resume(now, id);
        } else if self.idle_heat.asked() {
            self.heaters_off(now, Some(id));
        } else {
            self.reply(
                id,
                Outcome::refused("refused/no-prompt", "The printer asks nothing now."),
            );
        }
    }

    fn press(&mut self, now: Now, button: u8) {
        // Unnumbered: it has to overtake the command that waits.
        let text = format!("M876 S{button}");
        self.sender.push_loose(now.mono, text.as_bytes(), true);
        self.people.shown = false;
        self.event(Event::NoticeCleared(PROMPT.to_owned()));
    }
}
