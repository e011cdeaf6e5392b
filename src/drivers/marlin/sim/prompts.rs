//! Commands that wait for a person.

use std::time::Duration;

use super::Sim;
use super::exec::Step;

impl Sim {
    /// M0 and M1.
    pub(super) fn wait_for_click(&self, text: &str) -> Vec<Step> {
        let text = if text.is_empty() {
            "Click to Resume..."
        } else {
            text
        };
        let mut steps = vec![Step::Drain];
        // Such texts end with a carriage return in 2.1.
        steps.push(Step::Say(format!("echo:{text}\r")));
        steps.extend(prompt(text, &["Continue"]));
        steps.push(Step::Person);
        steps.push(Step::Say("//action:prompt_end".to_owned()));
        steps
    }

    /// M600: parks, waits, loads, asks whether to purge more.
    pub(super) fn change_filament(&self) -> Vec<Step> {
        let seconds = |s: f64| Step::Pause(self.scaled(s));
        let mut steps = vec![Step::Drain, Step::Say("//action:paused".to_owned()), seconds(4.0)];
        steps.push(Step::Say("echo:Insert filament and send M108".to_owned()));
        steps.extend(prompt("Nozzle Parked", &["Continue"]));
        steps.push(Step::Person);
        steps.push(seconds(6.0));
        steps.push(Step::AskPurge);
        steps
    }

    /// The question after loading; purging asks again.
    pub(super) fn ask_purge(&self) -> Vec<Step> {
        let mut steps = prompt("Paused", &["PurgeMore", "Continue"]);
        steps.push(Step::Person);
        steps.push(Step::PurgeAnswer);
        steps
    }

    pub(super) fn purge_answer(&mut self) -> Vec<Step> {
        match self.prompt_answer.take() {
            Some(0) => vec![Step::Pause(self.scaled(2.0)), Step::AskPurge],
            _ => vec![
                Step::Say("//action:prompt_end".to_owned()),
                Step::Pause(self.scaled(2.0)),
                Step::Say("//action:resumed".to_owned()),
            ],
        }
    }

    /// Seconds of life in simulated time.
    pub(super) fn scaled(&self, seconds: f64) -> Duration {
        Duration::from_secs_f64((seconds / self.options.speed.max(1e-6)).clamp(0.0, 1e6))
    }
}

fn prompt(title: &str, buttons: &[&str]) -> Vec<Step> {
    let mut steps = vec![
        Step::Say("//action:prompt_end".to_owned()),
        Step::Say(format!("//action:prompt_begin {title}")),
    ];
    for button in buttons {
        steps.push(Step::Say(format!("//action:prompt_button {button}")));
    }
    steps.push(Step::Say("//action:prompt_show".to_owned()));
    steps
}
