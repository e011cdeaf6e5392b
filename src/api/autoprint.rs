//! `printers/autoprint/*`: how a printer clears its own bed between prints. Which print comes next is the
//! cloud's to say; the lines that clear the bed are in the configuration.

use std::time::{Duration, Instant};

use axum::Extension;
use axum::Json as Answer;
use axum::extract::State;
use serde_json::{Map, Value};

use super::door::Touched;
use super::envelope::{self, Problem};
use super::incoming::{Json, Params};
use super::{Api, macros, pid};
use crate::agent::clock;
use crate::agent::handle::{BedChange, PrinterHandle};
use crate::config::template::{Moment, Template};
use crate::job::release::ReleaseRules;
use crate::json::json;
use crate::printer::model::{BedCycle, BedStage, State as PrinterState, StateWord};
use crate::printer::outcome::Outcome;

/// Highest counter of cleared beds (documented).
const BEDS_MAX: u32 = 100_000;

/// Limits of what is kept (documented): °C, seconds, prints, seconds.
const RELEASE_MAX_C: u32 = 999;
const RELEASE_MAX_S: u32 = 86_400;
const PRINTS_MAX: u32 = 10_000;
const CLEAR_MAX_S: u32 = 3600;

/// What a release temperature is held to here: below it a bed never gets, above it nothing has let go.
const RELEASE_C: std::ops::RangeInclusive<u32> = 10..=150;

type Changed = Result<(Extension<Touched>, Answer<Value>), Problem>;

/// `CheckState?pid=`: what each printer waits for.
pub async fn check_state(State(api): State<Api>, params: Params) -> Result<Answer<Value>, Problem> {
    let printers = api.printers(&pid::pids(params.text("pid"), &Value::Null)?)?;
    let now = clock::now().mono;
    let states = printers.iter().map(|p| {
        let snapshot = p.snapshot();
        (p.id().to_string(), state(p.id(), &snapshot.state, now))
    });
    let states: Map<String, Value> = states.collect();
    Ok(Answer(
        json!({"status": true, "message": null, "printers": states}),
    ))
}

/// The state of one printer's bed in the documented words.
pub(super) fn state(id: i64, at: &PrinterState, now: Instant) -> Value {
    let cycle = at.bed_cycle;
    let capped = cycle.is_some_and(|c| c.max_prints.is_some_and(|most| c.in_a_row >= most));
    let by_hand = at.bed_dirty && cycle.is_none_or(|c| c.stage == BedStage::Manual);
    let word = at.word();
    let issues: Vec<&str> = [
        (
            cycle.is_none(),
            "This printer cannot clear its bed by itself: there is no `release` in its configuration",
        ),
        (cycle.is_some_and(|c| !c.on), "AutoPrint is switched off"),
        (word == StateWord::Offline, "Printer is not online"),
        (
            capped,
            "So many beds were cleared in a row that a person has to look",
        ),
        (by_hand, "The bed has to be cleared by hand"),
    ]
    .into_iter()
    .filter_map(|(so, words)| so.then_some(words))
    .collect();
    let ready = issues.is_empty() && word == StateWord::Operational && !at.bed_dirty;
    let next = match (by_hand, ready) {
        (true, _) => Some("confirm_clear"),
        (false, true) => Some("wait_for_queue"),
        (false, false) => None,
    };
    let blockers: Vec<Value> = issues
        .iter()
        .map(
            |words| json!({"type": null, "severity": null, "message": words, "data": [], "resolution": null}),
        )
        .collect();
    let waits = |stages: &[BedStage]| cycle.is_some_and(|c| stages.contains(&c.stage));
    let waiting = waits(&[BedStage::Waiting]);
    let left_s = cycle
        .and_then(|c| c.due)
        .map(|due| due.saturating_duration_since(now).as_secs_f64().ceil() as u64);
    let method = method(cycle);
    json!({
        "printer": id,
        "ready": ready,
        "isActionable": by_hand,
        "nextAction": next,
        "issues": issues,
        "blockers": blockers,
        "method": {"id": method, "variant": null, "official": false, "integration": null},
        "state": {
            "blockType": null,
            "awaitingManualClear": by_hand,
            "maxCyclesReached": capped,
            "waitingForSystem": waits(&[BedStage::Due, BedStage::LettingGo, BedStage::Clearing]),
            // The queue is in the cloud.
            "awaitingMatchingQueueItem": null,
            "awaitingBedCool": waiting && cycle.is_some_and(|c| c.below_c.is_some()),
            "awaitingSecondsPass": left_s,
            "awaitingSecondsTotal": left_s.and(cycle.and_then(|c| c.after_s)),
            "integration": null,
        },
        "config": {
            "method": method,
            "requiresConfirmation": cycle.is_none_or(|c| !c.on),
            "aiBedCheck": false,
            "clearTimeout": null,
            "alwaysClear": cycle.is_some(),
        },
        "nextItem": null,
    })
}

/// Lines of the owner's own are `custom`; without them a person clears the bed.
fn method(cycle: Option<BedCycle>) -> &'static str {
    if cycle.is_some() { "custom" } else { "manual" }
}

/// `GetAutoPrintSettings?pid=`. The configuration stands where the cloud has its model's settings.
pub async fn settings(State(api): State<Api>, params: Params) -> Result<Answer<Value>, Problem> {
    let printer = one(&api, &params)?;
    let cycle = printer.snapshot().state.bed_cycle;
    let lines = |moment| macros::lines(&printer, moment).unwrap_or_default();
    let written = |moment| {
        macros::written(&printer, moment)
            .map(Template::written)
            .unwrap_or_default()
    };
    let configured = printer.release_settings().map(|r| ReleaseRules {
        below_c: r.below_c,
        after: r.after,
        max_prints: r.max_prints,
    });
    let own = cycle.filter(|c| c.own_rules).map(|c| ReleaseRules {
        below_c: c.below_c,
        after: c.after_s.map(|s| Duration::from_secs(s.into())),
        max_prints: c.max_prints,
    });
    Ok(Answer(json!({
        "status": true,
        "message": null,
        "clear_gcode": lines(Moment::Clear),
        "on_end_gcode": lines(Moment::Done),
        "inherited_clear_gcode": written(Moment::Clear),
        "inherited_on_end_gcode": written(Moment::Done),
        "printer_settings": own.map(|rules| shown(Some(rules))),
        "printer_has_settings": own.is_some(),
        "model_settings": shown(configured),
        "model_has_settings": configured.is_some(),
        "account_settings": shown(None),
        "account_has_settings": false,
        "queue_match_settings": null,
        "queue_match_settings_other": null,
        "can_macro": false,
        "layerd": {"on": cycle.map(|c| c.on), "in_a_row": cycle.map(|c| c.in_a_row), "cleared": cycle.map(|c| c.cleared)},
    })))
}

fn shown(rules: Option<ReleaseRules>) -> Value {
    json!({
        "bedReleaseTemp": rules.and_then(|r| r.below_c).map(|c| c.round() as i64),
        "autoReleaseTime": rules.and_then(|r| r.after).map(|after| after.as_secs()),
        "maxPrints": rules.and_then(|r| r.max_prints),
        "ackNoGcode": false,
        "method": rules.map(|_| "custom"),
        "clearTimeout": null,
        "aiBedCheck": null,
        "alwaysClear": rules.map(|_| true),
        "variant": null,
    })
}

/// `SaveAutoPrintSettings?pid=`: other rules for this printer, or back to those of the configuration.
pub async fn save(State(api): State<Api>, params: Params, body: Json) -> Changed {
    let printer = one(&api, &params)?;
    let required = |name: &str| Problem::bad(format!("`{name}` is required."));
    let levels = &["org", "model", "1", "0"];
    let back = body
        .word("useDefault", levels)?
        .ok_or_else(|| required("useDefault"))?;
    let level = body.word("saveAsDefault", levels)?.unwrap_or("0");
    let below = body.number("bedReleaseTemp", 0, RELEASE_MAX_C)?;
    let after_s = body.number("autoReleaseTime", 0, RELEASE_MAX_S)?;
    let most = body.number("maxPrints", 0, PRINTS_MAX)?.filter(|n| *n > 0);
    let clear_s = body.number("clearTimeout", 0, CLEAR_MAX_S)?;
    let (look, always) = (body.switch("aiBedCheck")?, body.switch("alwaysClear")?);
    body.switch("ackNoGcode")?;
    let (wanted, variant) = (body.text("method", 100)?, body.text("variant", 100)?);
    if back != "0" {
        return done(
            &printer,
            printer.change_bed_rules(BedChange::Rules(None)).await,
            Vec::new(),
        );
    }
    if level != "0" {
        return Err(Problem::said(
            "Defaults for several printers are kept in the configuration file of this host.",
        ));
    }
    if below.is_none() && after_s.is_none() {
        return Err(Problem::said(
            "Must either set bed release temp or auto-release seconds",
        ));
    }
    let held = below.map(|c| c.clamp(*RELEASE_C.start(), *RELEASE_C.end()));
    // What this host does otherwise than asked.
    let restrictions: Vec<Value> = [
        (held != below, "bedReleaseTemp", json!(held)),
        (clear_s.is_some(), "clearTimeout", Value::Null),
        (look == Some(true), "aiBedCheck", json!(false)),
        (always == Some(false), "alwaysClear", json!(true)),
        (wanted.is_some_and(|m| m != "custom"), "method", json!("custom")),
        (variant.is_some(), "variant", Value::Null),
    ]
    .into_iter()
    .filter(|(so, ..)| *so)
    .map(|(_, field, value)| json!({"field": field, "value": value}))
    .collect();
    let rules = ReleaseRules {
        below_c: held.map(|c| c as f32),
        after: after_s.map(|s| Duration::from_secs(s.into())),
        max_prints: most,
    };
    let outcome = printer.change_bed_rules(BedChange::Rules(Some(rules))).await;
    done(&printer, outcome, restrictions)
}

fn done(printer: &PrinterHandle, outcome: Outcome, restrictions: Vec<Value>) -> Changed {
    let mut out = answer(&outcome);
    if let Value::Object(members) = &mut out
        && !restrictions.is_empty()
    {
        members.insert("restrictions".to_owned(), json!(restrictions));
    }
    Ok((Extension(Touched(vec![printer.id()])), Answer(out)))
}

/// `SetEnabled {on}`.
pub async fn set_enabled(State(api): State<Api>, params: Params, body: Json) -> Changed {
    let on = body
        .switch("on")?
        .ok_or_else(|| Problem::bad("`on` must be true or false."))?;
    change(&api, &params, &body, BedChange::On(on)).await
}

/// `SetClearedBedsAmount {amount}`.
pub async fn set_cleared(State(api): State<Api>, params: Params, body: Json) -> Changed {
    let amount = body.number("amount", 0, BEDS_MAX)?;
    let amount = amount.ok_or_else(|| Problem::bad("`amount` is required."))?;
    change(&api, &params, &body, BedChange::InARow(amount)).await
}

/// All or nothing: one that cannot, and none is changed.
async fn change(api: &Api, params: &Params, body: &Json, change: BedChange) -> Changed {
    let printers = api.printers(&pid::pids(params.text("pid"), &body.0)?)?;
    let touched = Extension(Touched(printers.iter().map(PrinterHandle::id).collect()));
    if let Some(unable) = printers.iter().find(|p| p.release_settings().is_none()) {
        let words = format!(
            "Printer {} cannot clear its bed by itself: there is no `release` in its configuration.",
            unable.id()
        );
        return Err(Problem::said(words).coded("refused/no-release"));
    }
    let mut worst = Outcome::Verified;
    for printer in &printers {
        let outcome = printer.change_bed_rules(change).await;
        if !outcome.is_ok() {
            worst = outcome;
        }
    }
    Ok((touched, Answer(answer(&worst))))
}

fn answer(outcome: &Outcome) -> Value {
    let message = Some(outcome.message()).filter(|m| !m.is_empty());
    json!({"status": outcome.is_ok(), "message": message, "layerd": envelope::native(outcome)})
}

fn one(api: &Api, params: &Params) -> Result<PrinterHandle, Problem> {
    let mut printers = api.printers(&pid::pids(params.text("pid"), &Value::Null)?)?;
    match (printers.pop(), printers.is_empty()) {
        (Some(printer), true) => Ok(printer),
        _ => Err(Problem::bad("`pid` must name one printer.")),
    }
}

/// `printers/GetPendingPrintStatus?pid=`: prints that are checked and wait for the word to heat. Printers
/// without one are left out (documented).
pub async fn pending(State(api): State<Api>, params: Params) -> Result<Answer<Value>, Problem> {
    let printers = api.printers(&pid::pids(params.text("pid"), &Value::Null)?)?;
    let now = clock::now().wall;
    let waiting = printers.iter().filter_map(|p| {
        let snapshot = p.snapshot();
        let job = snapshot.state.job.as_ref().filter(|job| job.held)?;
        let status = json!({
            "received": format!("{now:.0}"),
            "queue_position": 1,
            "total_in_queue": 1,
            "downloading_status": "done",
            "heating_status": "waiting",
            "is_scheduled": false,
            "scheduled_for": null,
            "staggered_group": null,
            "ready_for_download": true,
            "ready_for_heating": false,
            "layerd": {"job": {"uid": job.uid, "file": job.file}},
        });
        Some((p.id().to_string(), status))
    });
    let waiting: Map<String, Value> = waiting.collect();
    Ok(Answer(
        json!({"status": true, "message": null, "printers": waiting}),
    ))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::printer::model::Now;

    fn idle() -> PrinterState {
        let now = Now {
            mono: Instant::now(),
            wall: Timestamp::UNIX_EPOCH,
        };
        let mut state = PrinterState::new(now);
        crate::printer::reduce::reduce(&mut state, now, crate::printer::event::Event::Up);
        let idle = crate::printer::event::Event::Activity(crate::printer::model::Activity::Idle);
        crate::printer::reduce::reduce(&mut state, now, idle);
        state
    }

    fn cycle() -> BedCycle {
        BedCycle {
            on: true,
            own_rules: false,
            below_c: Some(35.0),
            after_s: Some(1800),
            due: None,
            max_prints: Some(3),
            stage: BedStage::Manual,
            in_a_row: 0,
            cleared: 7,
        }
    }

    #[test]
    fn the_countdown_drops_by_real_seconds() {
        let now = Instant::now();
        let mut at = idle();
        at.bed_dirty = true;
        at.bed_cycle = Some(BedCycle {
            stage: BedStage::Waiting,
            due: Some(now + Duration::from_secs(100)),
            ..cycle()
        });
        let first = state(1, &at, now);
        let later = state(1, &at, now + Duration::from_secs(40));
        assert_eq!(
            (
                &first["state"]["awaitingSecondsPass"],
                &later["state"]["awaitingSecondsPass"]
            ),
            (&json!(100), &json!(60))
        );
        assert_eq!(first["state"]["awaitingSecondsTotal"], 1800);
        assert_eq!(first["state"]["awaitingBedCool"], true);
        assert_eq!(
            (&first["ready"], &first["nextAction"]),
            (&json!(false), &Value::Null)
        );
    }

    #[test]
    fn what_a_person_has_to_do_is_said() {
        let now = Instant::now();
        let mut at = idle();
        at.bed_cycle = Some(cycle());
        let free = state(1, &at, now);
        assert_eq!(
            (&free["ready"], &free["nextAction"]),
            (&json!(true), &json!("wait_for_queue"))
        );
        assert_eq!(free["issues"], json!([]));
        at.bed_dirty = true;
        at.bed_cycle = Some(BedCycle {
            in_a_row: 3,
            ..cycle()
        });
        let full = state(1, &at, now);
        assert_eq!(
            (&full["isActionable"], &full["nextAction"]),
            (&json!(true), &json!("confirm_clear"))
        );
        assert_eq!(full["state"]["maxCyclesReached"], true);
        assert_eq!(full["blockers"].as_array().map(Vec::len), Some(2));
        at.bed_cycle = None;
        let bare = state(1, &at, now);
        assert_eq!(
            (&bare["method"]["id"], &bare["config"]["requiresConfirmation"]),
            (&json!("manual"), &json!(true))
        );
    }
}
