//! What a command wants, done; each in a future of its own, with its answer.

use uuid::Uuid;

use super::command::{Asked, PrintWish, Source, Wanted};
use super::core::PrinterKey;
use crate::agent::handle::{AgentHandle, Hold, PrintOrder, PrinterHandle};
use crate::agent::objects;
use crate::job::record::JobRecord;
use crate::printer::command::Command;
use crate::printer::model::StateWord;
use crate::printer::outcome::{Outcome, Refusal};
use crate::upstream::fetch::Fetcher;

/// Largest picture that goes to a broker, bytes.
const PICTURE_MAX: usize = 1 << 20;

/// What came of it.
#[derive(Debug)]
pub enum Done {
    /// A command came to its end; the job that it made, where it did.
    Answer(PrinterKey, Box<Asked>, Outcome, Option<(i64, Uuid)>),
    /// Records of jobs.
    Records(PrinterKey, Vec<JobRecord>),
    /// A picture.
    Picture(PrinterKey, Option<Vec<u8>>),
}

/// Number and identity of a job.
type Job = Option<(i64, Uuid)>;

/// Carries out a command.
pub async fn carry_out(
    agent: AgentHandle,
    fetcher: Fetcher,
    printer: PrinterHandle,
    asked: Box<Asked>,
) -> Done {
    let key = printer.id();
    let (outcome, job) = match wrong_job(&printer, &asked) {
        Some(refusal) => (Outcome::Refused(refusal), None),
        None => obey(&agent, &fetcher, &printer, &asked).await,
    };
    Done::Answer(key, asked, outcome, job)
}

/// A command for a certain job is for that one only. An emergency stop is for whatever goes on.
fn wrong_job(printer: &PrinterHandle, asked: &Asked) -> Option<Refusal> {
    let meant = asked.job?;
    let is = printer.snapshot().state.job.as_ref().map(|job| job.uid);
    let wrong = is != Some(meant) && asked.what != Wanted::Command(Command::EmergencyStop);
    wrong.then(|| {
        Refusal::new(
            "refused/other-job",
            "The job that this command was meant for is not in hand. Look at the printer, then send it anew.",
        )
    })
}

async fn obey(
    agent: &AgentHandle,
    fetcher: &Fetcher,
    printer: &PrinterHandle,
    asked: &Asked,
) -> (Outcome, Job) {
    let outcome = match asked.what.clone() {
        Wanted::Command(command) => printer.command(command).await,
        Wanted::Skip(wanted) => skip(agent, printer, &wanted).await,
        Wanted::ClearBed(rating) => printer.clear_bed(rating).await,
        Wanted::Dismiss(notice) => printer.dismiss(&notice).await,
        Wanted::Power(on) => printer.power(on).await,
        Wanted::Begin => match printer.release().await {
            Ok((job, pending)) => return (pending.outcome().await, Some((job.job_id, job.uid))),
            Err(refusal) => Outcome::Refused(refusal),
        },
        Wanted::Print(wish) => {
            // The same demand twice is one start, also over a restart.
            let start_id = format!("mqtt/{}/{}", printer.name(), asked.id);
            return print(agent, fetcher, printer, *wish, start_id).await;
        }
    };
    (outcome, None)
}

async fn skip(agent: &AgentHandle, printer: &PrinterHandle, wanted: &[String]) -> Outcome {
    let Some(job) = printer.snapshot().state.job.clone() else {
        return Outcome::refused("refused/no-job", "No active print job found");
    };
    let known = objects::of_print(agent, printer).await;
    match objects::ids(known.as_deref(), &job.skipped, wanted) {
        Ok(ids) => printer.command(Command::SkipObjects { ids }).await,
        Err(refusal) => Outcome::Refused(refusal),
    }
}

async fn print(
    agent: &AgentHandle,
    fetcher: &Fetcher,
    printer: &PrinterHandle,
    wish: PrintWish,
    start_id: String,
) -> (Outcome, Job) {
    let found = match &wish.source {
        Source::File(wanted) => file(agent, wanted).await,
        Source::Url { .. } => fetched(fetcher, printer, &wish.source).await,
    };
    let (sha256, name) = match found {
        Ok(found) => found,
        Err(refusal) => return (Outcome::Refused(refusal), None),
    };
    let order = PrintOrder {
        sha256: sha256.clone(),
        name,
        skip: wish.skip,
        materials: wish.materials,
        plate: wish.plate,
        start_id: Some(start_id),
    };
    // Until the job holds it, it must not be cleared away.
    let holder = Uuid::new_v4();
    agent.spool().pin(&sha256, holder);
    let end = if wish.hold {
        let held = printer.print_held(order, Hold::default()).await;
        held.map(|job| (Outcome::Verified, Some((job.job_id, job.uid))))
    } else {
        match printer.print(order).await {
            Ok((job, pending)) => Ok((pending.outcome().await, Some((job.job_id, job.uid)))),
            Err(refusal) => Err(refusal),
        }
    };
    agent.spool().unpin(&sha256, holder);
    end.unwrap_or_else(|refusal| (Outcome::Refused(refusal), None))
}

/// A file of the host, by its id, its content or the newest of its name.
async fn file(agent: &AgentHandle, wanted: &str) -> Result<(String, String), Refusal> {
    let rows = agent.spool().files().await;
    let row = rows
        .iter()
        .find(|row| row.sha256 == wanted || row.id == wanted)
        .or_else(|| rows.iter().find(|row| row.name == wanted));
    row.map(|row| (row.sha256.clone(), row.name.clone()))
        .ok_or_else(|| {
            Refusal::new(
                "refused/unknown-file",
                "The file is not on this host (any more). Upload it again, or give `url`.",
            )
        })
}

async fn fetched(
    fetcher: &Fetcher,
    printer: &PrinterHandle,
    source: &Source,
) -> Result<(String, String), Refusal> {
    let Source::Url {
        url,
        name,
        size,
        sha256,
    } = source
    else {
        return Err(Refusal::new("refused/bad-request", "There is no address."));
    };
    let word = printer.snapshot().state.word();
    if word != StateWord::Operational {
        // The guard says so too, but after a download for nothing.
        return Err(Refusal::new(
            "refused/wrong-state",
            format!(
                "Cannot start: the printer is {word}. A print can be started only when the printer is idle."
            ),
        ));
    }
    let here = fetcher
        .fetch(std::slice::from_ref(url), name, *size, |_| {})
        .await
        .map_err(|why| Refusal::new("refused/not-fetched", why))?;
    match sha256 {
        Some(wanted) if *wanted != here => Err(Refusal::new(
            "refused/wrong-content",
            format!(
                "The file that came has the SHA-256 {here}, not the one that was named. Nothing was started."
            ),
        )),
        _ => Ok((here, name.clone())),
    }
}

/// Takes a picture.
pub async fn picture(printer: PrinterHandle) -> Done {
    let taken = printer.picture(false).await;
    let jpeg = taken
        .ok()
        .filter(|jpeg| jpeg.len() <= PICTURE_MAX)
        .map(|jpeg| jpeg.to_vec());
    Done::Picture(printer.id(), jpeg)
}
