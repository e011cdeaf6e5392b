//! When a supply may be switched off. Pure.

use std::time::{Duration, Instant};

use crate::printer::model::{Heater, State, StateWord};
use crate::printer::outcome::Refusal;

/// A hotend below this may lose its fan, and a bed below this is no danger, °C.
pub const COOL_C: f32 = 50.0;

/// A reading older than this says nothing about now.
const READING_AGE_MAX: Duration = Duration::from_secs(60);

/// From the last hot reading of a printer that does not answer any more, so much time makes it cool.
const COOLING: Duration = Duration::from_secs(30 * 60);

/// Whether the supply may be switched off now: only when the printer is idle and cool.
///
/// # Errors
/// Why not, and what to do.
pub fn may_switch_off(state: &State, now: Instant) -> Result<(), Refusal> {
    let word = state.word();
    let idle = matches!(
        word,
        StateWord::Operational | StateWord::Offline | StateWord::Error | StateWord::NotReady
    );
    if !idle || state.job.is_some() {
        return Err(Refusal::new(
            "refused/wrong-state",
            format!(
                "The supply stays on: the printer is {word}. Wait for the end of the print, or cancel it."
            ),
        ));
    }
    for (heater, heat) in &state.heaters {
        if !matches!(heater, Heater::Tool(_) | Heater::Bed | Heater::Chamber) {
            continue;
        }
        let age = heat.age(now);
        let unseen = age > READING_AGE_MAX;
        if state.is_up() && unseen {
            return Err(Refusal::new(
                "refused/temperature-unknown",
                format!(
                    "The supply stays on: {heater} was last read {} s ago, so nobody knows whether it is cool. Try again in a moment.",
                    age.as_secs()
                ),
            ));
        }
        let heated = !unseen && heat.target_c.is_some_and(|t| t > 0.0);
        let hot = heat.actual_c > COOL_C && age < COOLING;
        if hot || heated {
            return Err(Refusal::new(
                "refused/hot",
                format!(
                    "The supply stays on: {heater} has {:.0} °C and its fan is needed until {COOL_C:.0} °C. Switch the heaters off and wait.",
                    heat.actual_c
                ),
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::printer::event::Event;
    use crate::printer::model::{Activity, Now};
    use crate::printer::reduce::reduce;

    fn at(start: Instant, s: u64) -> Now {
        Now {
            mono: start + Duration::from_secs(s),
            wall: Timestamp::UNIX_EPOCH,
        }
    }

    fn heat(actual_c: f32, target_c: f32) -> Event {
        Event::Heat {
            heater: Heater::Tool(0),
            actual_c,
            target_c: Some(target_c),
        }
    }

    fn code(state: &State, now: Instant) -> String {
        may_switch_off(state, now)
            .err()
            .map_or_else(|| "may".to_owned(), |r| r.code.to_string())
    }

    #[test]
    fn only_idle_and_cool() {
        let start = Instant::now();
        let mut state = State::new(at(start, 0));
        reduce(&mut state, at(start, 0), Event::Up);
        assert_eq!(code(&state, start), "may");
        reduce(&mut state, at(start, 1), heat(30.0, 0.0));
        assert_eq!(code(&state, start), "may");
        reduce(&mut state, at(start, 1), heat(30.0, 200.0));
        assert_eq!(code(&state, start), "refused/hot");
        reduce(&mut state, at(start, 1), heat(51.0, 0.0));
        assert_eq!(code(&state, start), "refused/hot");
        reduce(&mut state, at(start, 1), heat(49.0, 0.0));
        assert_eq!(code(&state, start), "may");
        assert_eq!(
            code(&state, start + Duration::from_secs(90)),
            "refused/temperature-unknown"
        );
        reduce(&mut state, at(start, 1), Event::Activity(Activity::Printing));
        assert_eq!(code(&state, start), "refused/wrong-state");
    }

    #[test]
    fn a_printer_that_went_silent_hot_counts_as_hot_for_half_an_hour() {
        let start = Instant::now();
        let mut state = State::new(at(start, 0));
        reduce(&mut state, at(start, 0), Event::Up);
        reduce(&mut state, at(start, 1), heat(210.0, 0.0));
        reduce(&mut state, at(start, 2), Event::Down { why: None });
        assert_eq!(code(&state, start + Duration::from_secs(1700)), "refused/hot");
        assert_eq!(code(&state, start + Duration::from_secs(1900)), "may");
    }
}
