//! Where a macro needs a person: dialogs with buttons, and texts. Pure.
//!
//! Source: the `action:prompt_…` texts of Klipper's `RESPOND TYPE=command`, as its web interfaces show them.

use uuid::Uuid;

use super::proto::{Call, Core};
use crate::printer::command::RequestId;
use crate::printer::event::Event;
use crate::printer::model::Now;
use crate::printer::notice::{Level, Notice};
use crate::printer::outcome::Outcome;

/// Key of the notice that stands for a dialog.
const PROMPT: &str = "klipper/prompt";

/// Most buttons of a dialog.
const BUTTONS_MAX: usize = 20;

/// Longest text of a dialog, characters.
const TEXT_MAX: usize = 500;

/// A dialog as it comes in, line by line.
#[derive(Debug, Default)]
pub struct People {
    title: String,
    text: String,
    /// What stands on the button, and the G-code that it sends.
    buttons: Vec<(String, String)>,
    shown: bool,
}

fn short(text: &str) -> String {
    text.trim().chars().take(TEXT_MAX).collect()
}

impl Core {
    /// `// action:…` of the console.
    pub(super) fn action(&mut self, now: Now, action: &str) {
        let (name, rest) = action.split_once(' ').unwrap_or((action, ""));
        match name {
            "prompt_begin" => {
                self.forget_prompt();
                self.people.title = short(rest);
            }
            "prompt_text" if self.people.text.len() < TEXT_MAX => {
                if !self.people.text.is_empty() {
                    self.people.text.push('\n');
                }
                self.people.text.push_str(&short(rest));
            }
            "prompt_button" | "prompt_footer_button" if self.people.buttons.len() < BUTTONS_MAX => {
                // LABEL|GCODE|COLOUR; the label is the G-code where there is none.
                let mut parts = rest.split('|').map(short);
                let label = parts.next().unwrap_or_default();
                let lines = parts
                    .next()
                    .filter(|l| !l.is_empty())
                    .unwrap_or_else(|| label.clone());
                if !label.is_empty() {
                    self.people.buttons.push((label, lines));
                }
            }
            "prompt_show" => self.show_prompt(now),
            "prompt_end" => self.forget_prompt(),
            "notification" => self.tell(Event::Message(short(rest))),
            _ => {}
        }
    }

    fn show_prompt(&mut self, now: Now) {
        let people = &mut self.people;
        people.shown = true;
        let title = if people.title.is_empty() {
            "The printer asks something.".to_owned()
        } else {
            people.title.clone()
        };
        let notice = Notice {
            id: Uuid::new_v4(),
            key: PROMPT.to_owned(),
            level: Level::Warning,
            title,
            text: people.text.clone(),
            code: None,
            buttons: people.buttons.iter().map(|(label, _)| label.clone()).collect(),
            at: now.wall,
        };
        self.tell(Event::Notice(notice));
    }

    /// The dialog is closed, or the printer that asked is gone.
    pub(super) fn forget_prompt(&mut self) {
        if std::mem::take(&mut self.people).shown {
            self.tell(Event::NoticeCleared(PROMPT.to_owned()));
        }
    }

    /// A person has pressed a button.
    pub(super) fn press(&mut self, now: Now, id: RequestId, button: u8) -> Option<Outcome> {
        let pressed = self
            .people
            .buttons
            .get(usize::from(button))
            .filter(|_| self.people.shown);
        let Some((_, lines)) = pressed else {
            return Some(Outcome::refused(
                "refused/no-prompt",
                "The printer asks nothing that has this button.",
            ));
        };
        let lines = lines.clone();
        self.console.clear();
        self.script(Call::Lines(id, now.mono), &lines);
        None
    }
}
