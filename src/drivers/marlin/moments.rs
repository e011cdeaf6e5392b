//! The owner's own lines at moments of a print, filled in.

use super::pause::mm;
use super::proto::Marlin;
use super::script::Step;
use crate::config::template::{Template, Values, Variable};
use crate::printer::model::Heater;

impl Marlin {
    /// The lines of a moment, ready to be sent. What they change is followed: they are part of what the
    /// program finds.
    pub(super) fn moment(&self, template: &Template) -> Vec<String> {
        if template.is_empty() {
            return Vec::new();
        }
        template.lines(&self.values())
    }

    pub(super) fn moment_steps(&self, template: &Template) -> Vec<Step> {
        self.moment(template).into_iter().map(Step::made).collect()
    }

    fn values(&self) -> Values {
        let mut values = Values::new();
        values.insert(Variable::Printer, plain(&self.settings.printer));
        if let Some(job) = &self.job {
            values.insert(Variable::File, plain(&job.start.program.name));
            if job.place.layer > 0 {
                values.insert(Variable::Layer, job.place.layer.to_string());
            }
        }
        if let Some(bed) = self.settings.bed_mm {
            let names = [Variable::BedX, Variable::BedY, Variable::BedZ];
            values.extend(names.into_iter().zip(bed.map(|v| mm(f64::from(v)))));
        }
        // In a pause the program's own place and temperatures, not those of the parked head.
        let track = self.saved.as_ref().map_or(&self.track, |s| &s.track);
        for (name, at) in [Variable::X, Variable::Y, Variable::Z]
            .into_iter()
            .zip(track.xyz())
        {
            values.extend(at.map(|at| (name, mm(at))));
        }
        values.insert(Variable::Tool, track.tool.to_string());
        let heaters = [
            (Variable::Temp, Heater::Tool(track.tool)),
            (Variable::BedTemp, Heater::Bed),
        ];
        for (name, heater) in heaters {
            let remembered = self.saved.as_ref().and_then(|s| s.targets.get(&heater).copied());
            let now = || self.warmth.get(&heater).and_then(|w| w.target_c);
            values.extend(remembered.or_else(now).map(|c| (name, mm(f64::from(c)))));
        }
        values
    }
}

/// A text that cannot end or begin another command.
fn plain(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control() && !matches!(c, '*' | ';'))
        .take(40)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::bench::Bench;
    use super::super::settings::Settings;
    use super::super::sim::Options;
    use crate::config::lifecycle::Lifecycle;
    use crate::config::template::{Moment, Snippets, parse};
    use crate::printer::command::{CancelReason, Command};
    use crate::printer::event::JobEvent;

    fn bench() -> Bench {
        let line = |text: &str, moment| parse(text, &Snippets::new(), moment).expect("good");
        let gcode = Lifecycle {
            start: line("M117 {printer} starts {file}", Moment::Start),
            end: line("M117 end at {z}\nG1 X0 Y{bed_y}", Moment::End),
            pause: line("G1 X7 Y7 F6000\nM117 layer {layer} {temp}", Moment::Pause),
            resume: line("M117 again at {temp}", Moment::Resume),
            cancel: line("M117 gone", Moment::Cancel),
            ..Lifecycle::default()
        };
        let options = Options {
            speed: 20.0,
            ..Options::default()
        };
        Bench::up(
            options,
            Settings {
                bed_mm: Some([220.0, 210.0, 250.0]),
                printer: "ender*3".to_owned(),
                gcode,
                ..Settings::default()
            },
        )
    }

    fn program() -> String {
        let mut text = String::from("M104 S200\nG28\nM109 S200\nG90\nM83\nG1 Z0.3 F600\n");
        for i in 0..800 {
            text.push_str(&format!("G1 X{} Y{} E0.1 F6000\n", 10 + i % 100, 10 + i / 100));
        }
        text
    }

    fn texts(b: &Bench) -> Vec<String> {
        b.executed(|_| false)
    }

    #[test]
    fn the_owners_lines_go_out_at_their_moments_and_the_print_stays_whole() {
        let mut b = bench();
        let text = program();
        b.start(&text);
        assert!(b.run(3600, |b| b.sim.executed_count() > 200));
        let pause = b.request(Command::Pause);
        assert!(b.run(600, |b| b.replies.contains_key(&pause)));
        let resume = b.request(Command::Resume);
        assert!(b.run(600, |b| b.replies.contains_key(&resume)));
        assert!(b.run(3600, |b| b.saw_job(|j| matches!(j, JobEvent::Done { .. }))));
        let said = texts(&b);
        let at = |line: &str| {
            let found = said.iter().position(|t| t == line);
            found.unwrap_or_else(|| panic!("{line} not in {said:?}"))
        };
        assert!(at("M117 ender3 starts test.gcode") < at("G28"));
        assert!(at("G1 X7 Y7 F6000") < at("M117 again at 200"));
        assert!(
            !said.iter().any(|t| t.contains("M117 layer")),
            "a line with an unknown value is left out"
        );
        assert!(
            !said.iter().any(|t| t.starts_with("G1 X5 Y205")),
            "parked by the owner's lines instead"
        );
        assert!(at("M117 end at 0.3") < at("G1 X0 Y210"));
        let kept = |lines: &mut dyn Iterator<Item = &str>| -> Vec<String> {
            lines
                .filter(|l| l.contains(" E0.1 "))
                .map(str::to_owned)
                .collect()
        };
        assert_eq!(
            kept(&mut said.iter().map(String::as_str)),
            kept(&mut text.lines())
        );
    }

    #[test]
    fn the_cancel_lines_come_when_everything_is_off_and_only_then() {
        let mut b = bench();
        b.start(&program());
        assert!(b.run(3600, |b| b.sim.executed_count() > 200));
        let cancel = b.request(Command::Cancel(CancelReason::default()));
        assert!(b.run(600, |b| b.replies.contains_key(&cancel)));
        b.run(30, |_| false);
        let said = texts(&b);
        let off = said.iter().rposition(|t| t == "M104 S0").expect("off");
        let gone = said
            .iter()
            .position(|t| t == "M117 gone")
            .expect("the owner's line");
        assert!(off < gone);
        assert!(!said.iter().any(|t| t.starts_with("M117 end at")), "{said:?}");
        assert!(!b.sim.is_heating());
    }
}
