//! `printers/actions/*`: one demand, carried out on one or several printers.

use std::collections::HashMap;
use std::time::Duration;

use axum::Extension;
use axum::Json as Answer;
use axum::extract::{Path, State};
use futures_util::future::join_all;
use serde_json::Value;

use super::demand::{self, Demand, JobSource, Manner};
use super::door::Touched;
use super::envelope::{self, Problem};
use super::gcode_body::Wanted;
use super::incoming::{Json, Params};
use super::{Api, dialect_rules, files, macros, pid, recover};
use crate::agent::handle::{Accepted, Hold, Pending, PrintOrder, PrinterHandle};
use crate::agent::objects;
use crate::json::json;
use crate::printer::command::{CancelReason, Command};
use crate::printer::model::StateWord;
use crate::printer::outcome::{Outcome, Refusal};

/// How long a start may take until it is accepted: a big file is analyzed on the way.
const ACCEPT_LIMIT: Duration = Duration::from_secs(600);

/// What goes to each printer.
#[derive(Clone, Debug)]
enum Work {
    Command(Command),
    Own { wanted: Wanted, tune: bool },
    ClearBed { rating: Option<u8> },
    Print(PrintOrder, Option<Hold>),
    Begin,
    CancelPending,
    Skip(Vec<String>),
}

/// How it went on one printer.
#[derive(Clone, Debug)]
pub(super) struct End {
    /// `None`: accepted, and nobody waits for the end.
    pub outcome: Option<Outcome>,
    /// Number and identity of the job that was made.
    pub job: Option<(i64, uuid::Uuid)>,
}

impl End {
    fn bare(outcome: Outcome) -> Self {
        End {
            outcome: Some(outcome),
            job: None,
        }
    }

    pub fn is_good(&self) -> bool {
        self.outcome.as_ref().is_none_or(Outcome::is_ok)
    }

    pub fn native(&self) -> Value {
        let mut out = self
            .outcome
            .as_ref()
            .map_or_else(envelope::accepted, envelope::native);
        if let (Value::Object(members), Some((id, uid))) = (&mut out, self.job) {
            members.insert("job".to_owned(), json!({"id": id, "uid": uid}));
        }
        out
    }
}

/// One action.
pub async fn act(
    State(api): State<Api>,
    Path(parts): Path<HashMap<String, String>>,
    params: Params,
    body: Json,
) -> Result<(Extension<Touched>, Answer<Value>), Problem> {
    let action = parts.get("action").map(String::as_str).unwrap_or_default();
    let manner = demand::manner(&body.0)?;
    if action == "Recover" {
        let printers = api.printers(&pid::pids(params.text("pid"), &body.0)?)?;
        let touched = Touched(printers.iter().map(PrinterHandle::id).collect());
        return Ok((Extension(touched), recover::act(&api, &printers, &body.0).await?));
    }
    let demand = demand::read(action, &body.0)?;
    let printers = api.printers(&pid::pids(params.text("pid"), &body.0)?)?;
    let Done { ends, name, ignored } = carry_out(&api, &printers, &demand, manner).await?;
    let mut out = answer(&printers, &ends, &demand);
    if let (Value::Object(members), Some(name)) = (&mut out, name) {
        let good = || printers.iter().zip(&ends).filter(|(_, e)| e.is_good());
        let started: Vec<i64> = good().map(|(p, _)| p.id()).collect();
        let jobs: Vec<i64> = good().filter_map(|(_, e)| e.job.map(|(id, _)| id)).collect();
        let file = json!({"name": name, "analysis": null, "printers": started, "queued": false, "cost": []});
        members.insert("files".to_owned(), json!([file]));
        members.insert("jobIds".to_owned(), json!(jobs));
        members.insert("staggeredPrinterIds".to_owned(), json!([]));
        if !ignored.is_empty() {
            members.insert("ignored_start_options".to_owned(), json!(ignored));
        }
    }
    let touched = Touched(printers.iter().map(PrinterHandle::id).collect());
    Ok((Extension(touched), Answer(out)))
}

/// What came of a demand.
struct Done {
    /// One for each printer.
    ends: Vec<End>,
    /// Name of the file of a print.
    name: Option<String>,
    /// Start options that mean nothing here.
    ignored: Vec<String>,
}

/// Carries a demand out on all of these printers.
async fn carry_out(
    api: &Api,
    printers: &[PrinterHandle],
    demand: &Demand,
    manner: Manner,
) -> Result<Done, Problem> {
    let (work, name, ignored) = match demand.clone() {
        Demand::Command(command) => (Work::Command(command), None, Vec::new()),
        Demand::Own { wanted, tune } => (Work::Own { wanted, tune }, None, Vec::new()),
        Demand::ClearBed { rating } => (Work::ClearBed { rating }, None, Vec::new()),
        Demand::Skip(wanted) => (Work::Skip(wanted), None, Vec::new()),
        Demand::Begin => (Work::Begin, None, Vec::new()),
        Demand::CancelPending => (Work::CancelPending, None, Vec::new()),
        Demand::Print(job) => {
            let ignored = job.ignored.clone();
            let discard = match &job.source {
                JobSource::File(id) if job.discard => Some(id.clone()),
                _ => None,
            };
            let hold = job.hold.then_some(Hold { discard });
            let order = files::order(api, job).await?;
            let name = order.name.clone();
            (Work::Print(order, hold), Some(name), ignored)
        }
    };
    let ends = match refused_together(printers, demand, manner) {
        Some(ends) => ends,
        None => {
            let several = printers.len() > 1;
            let each = printers.iter().map(|p| {
                one(
                    api,
                    p,
                    for_printer(work.clone(), p.id(), demand),
                    demand,
                    manner,
                    several,
                )
            });
            join_all(each).await
        }
    };
    Ok(Done { ends, name, ignored })
}

/// One action in the words of this shape, on one printer, for those who speak another shape: judged by the
/// guard alone. Without `wait` a print is answered when it was checked and is durable.
pub(super) async fn on_one(
    api: &Api,
    printer: &PrinterHandle,
    action: &str,
    body: &Value,
    wait: bool,
) -> Result<End, Problem> {
    let demand = demand::read(action, body)?;
    let manner = Manner { wait, ours: true };
    let done = carry_out(api, std::slice::from_ref(printer), &demand, manner).await?;
    done.ends.into_iter().next().ok_or_else(|| {
        Problem::with(
            axum::http::StatusCode::INTERNAL_SERVER_ERROR,
            "The printer gave no answer.",
        )
    })
}

/// The documented rule "each printer must be in state X": one that is not, and nothing is sent. Starts
/// and skips are documented to go on where they can; an emergency stop goes out wherever it can.
fn refused_together(printers: &[PrinterHandle], demand: &Demand, manner: Manner) -> Option<Vec<End>> {
    if manner.ours || goes_on_where_it_can(demand) {
        return None;
    }
    let refusals: Vec<Option<Refusal>> = printers
        .iter()
        .map(|p| dialect_rules::refusal(p.id(), p.snapshot().state.word(), demand))
        .collect();
    let first = refusals.iter().flatten().next()?.clone();
    let other = Refusal::new(
        "refused/another-printer",
        format!("Nothing was sent. {}", first.message),
    );
    let ends = refusals
        .into_iter()
        .map(|r| End::bare(Outcome::Refused(r.unwrap_or_else(|| other.clone()))));
    Some(ends.collect())
}

fn goes_on_where_it_can(demand: &Demand) -> bool {
    matches!(
        demand,
        Demand::Print(_) | Demand::Skip(_) | Demand::Command(Command::EmergencyStop)
    )
}

/// The part of a demand that differs from printer to printer.
fn for_printer(mut work: Work, id: i64, demand: &Demand) -> Work {
    if let (Work::Print(order, _), Demand::Print(job)) = (&mut work, demand) {
        let mine = job.materials.iter().find(|(pid, _)| *pid == id);
        order.materials = mine.map(|(_, map)| map.clone()).unwrap_or_default();
    }
    work
}

async fn one(
    api: &Api,
    printer: &PrinterHandle,
    work: Work,
    demand: &Demand,
    manner: Manner,
    several: bool,
) -> End {
    let mut work = work;
    // One demand for several printers is one start on each of them.
    if several
        && let Work::Print(order, _) = &mut work
        && let Some(start_id) = &mut order.start_id
    {
        start_id.push_str(&format!("/{}", printer.id()));
    }
    // The same start again is answered as the first one was, whatever the printer does by now.
    if let Work::Print(order, _) = &work
        && let Some(start_id) = &order.start_id
        && let Some(first) = printer.started_before(start_id).await
    {
        return started(first, manner.wait).await;
    }
    if !manner.ours
        && let Some(refusal) = dialect_rules::refusal(printer.id(), printer.snapshot().state.word(), demand)
    {
        return End::bare(Outcome::Refused(refusal));
    }
    let pending = match work {
        Work::ClearBed { rating } => return End::bare(printer.clear_bed(rating).await),
        Work::Command(command) => match printer.submit(command).await {
            Ok(pending) => pending,
            Err(refusal) => return End::bare(Outcome::Refused(refusal)),
        },
        Work::Own { wanted, tune } => {
            let submitted = match own_lines(printer, wanted) {
                Ok(lines) => printer.submit(Command::SendGcode { lines, tune }).await,
                Err(refusal) => Err(refusal),
            };
            match submitted {
                Ok(pending) => pending,
                Err(refusal) => return End::bare(Outcome::Refused(refusal)),
            }
        }
        Work::Skip(wanted) => match skip(api, printer, &wanted).await {
            Ok(pending) => pending,
            Err(refusal) => return End::bare(Outcome::Refused(refusal)),
        },
        Work::Begin => {
            let begun = printer.release().await;
            return started(begun, manner.wait).await;
        }
        // Also while it is still checked: nothing has been heated then.
        Work::CancelPending if printer.snapshot().state.word() == StateWord::Downloading => {
            match printer.submit(Command::Cancel(CancelReason::default())).await {
                Ok(pending) => pending,
                Err(refusal) => return End::bare(Outcome::Refused(refusal)),
            }
        }
        Work::CancelPending => {
            return End::bare(Outcome::refused(
                "refused/nothing-held",
                "No pending prints to cancel",
            ));
        }
        Work::Print(order, Some(hold)) => {
            let held = printer.print_held(order, hold).await;
            return match held {
                Ok(accepted) => End {
                    outcome: Some(Outcome::Verified),
                    job: Some((accepted.job_id, accepted.uid)),
                },
                Err(refusal) => End::bare(Outcome::Refused(refusal)),
            };
        }
        Work::Print(order, None) => return begin(printer, order, manner.wait).await,
    };
    let outcome = if manner.wait {
        Some(pending.outcome().await)
    } else {
        None
    };
    End { outcome, job: None }
}

/// Starts a print.
async fn begin(printer: &PrinterHandle, order: PrintOrder, wait: bool) -> End {
    match tokio::time::timeout(ACCEPT_LIMIT, printer.print(order)).await {
        Ok(accepted) => started(accepted, wait).await,
        // The check goes on without us and its result shows in the printer's state.
        Err(_) => End {
            outcome: None,
            job: None,
        },
    }
}

async fn started(accepted: Result<(Accepted, Pending), Refusal>, wait: bool) -> End {
    match accepted {
        Ok((accepted, pending)) => End {
            outcome: if wait { Some(pending.outcome().await) } else { None },
            job: Some((accepted.job_id, accepted.uid)),
        },
        Err(refusal) => End::bare(Outcome::Refused(refusal)),
    }
}

/// Starts a print on one printer; the whole answer.
pub(super) async fn start(printer: &PrinterHandle, order: PrintOrder, wait: bool) -> Value {
    let end = begin(printer, order, wait).await;
    let words = end.outcome.as_ref().filter(|o| !o.is_ok()).map(Outcome::message);
    let jobs: Vec<i64> = end.job.map(|(id, _)| id).into_iter().collect();
    json!({"status": end.is_good(), "message": words, "jobIds": jobs, "layerd": end.native()})
}

/// An action that was refused before it reached the printer.
pub(super) fn refusal(refusal: &Refusal) -> Value {
    let end = End::bare(Outcome::Refused(refusal.clone()));
    json!({"status": false, "message": refusal.message, "layerd": end.native()})
}

/// The lines of the owner's own that are meant on this printer.
fn own_lines(printer: &PrinterHandle, wanted: Wanted) -> Result<Vec<String>, Refusal> {
    let (lines, what) = match wanted {
        Wanted::Lines(lines) => (Some(lines), "line"),
        Wanted::Snippet(name) => (macros::snippet(printer, &name), "snippet"),
        Wanted::Moment(moment) => (macros::lines(printer, moment), "macro"),
    };
    lines.filter(|lines| !lines.is_empty()).ok_or_else(|| {
        let words = format!(
            "There is no such {what} in the configuration of {}, or nothing of it can be sent now.",
            printer.name()
        );
        Refusal::new("refused/no-macro", words)
    })
}

/// Names become ids by the analysis of the file that prints.
async fn skip(api: &Api, printer: &PrinterHandle, wanted: &[String]) -> Result<Pending, Refusal> {
    if printer.snapshot().state.job.is_none() {
        return Err(Refusal::new("refused/no-job", "No active print job found"));
    }
    let objects = objects::of_print(&api.agent, printer).await;
    let skipped = printer
        .snapshot()
        .state
        .job
        .as_ref()
        .map_or_else(Vec::new, |j| j.skipped.clone());
    let ids = objects::ids(objects.as_deref(), &skipped, wanted)?;
    printer.submit(Command::SkipObjects { ids }).await
}

fn answer(printers: &[PrinterHandle], ends: &[End], demand: &Demand) -> Value {
    let all = ends.iter().all(End::is_good);
    let some = ends.iter().any(End::is_good);
    let partly =
        some && !all && goes_on_where_it_can(demand) && *demand != Demand::Command(Command::EmergencyStop);
    let worst = ends.iter().find(|e| !e.is_good()).or(ends.first());
    let words = worst
        .and_then(|e| e.outcome.as_ref())
        .filter(|o| !o.is_ok())
        .map(Outcome::message);
    let message = match demand {
        Demand::Print(_) if partly => words.map(|w| format!("Started some jobs, but {w}")),
        _ => words,
    };
    // One printer: its outcome. Several: the first that is not good, and all of them in `results`.
    let mut layerd = worst.map_or(Value::Null, End::native);
    if let Value::Object(members) = &mut layerd
        && ends.len() > 1
    {
        let results = printers.iter().zip(ends).map(|(printer, end)| {
            let mut result = end.native();
            if let Value::Object(members) = &mut result {
                members.insert("pid".to_owned(), json!(printer.id()));
            }
            result
        });
        members.insert("results".to_owned(), Value::Array(results.collect()));
    }
    json!({"status": all || partly, "message": message, "layerd": layerd})
}
