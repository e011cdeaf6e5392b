//! `printers/actions/Recover`: the rest of an interrupted Marlin print as a new, checked print.
//!
//! Two steps: without `layerd.confirm` the answer says what would be done and nothing happens; with it
//! the rest of the program is written to the spool behind a beginning that homes X and Y, heats, primes
//! and comes from above, and is started like any other file.

use std::time::{Duration, Instant};

use axum::Json as Answer;
use serde_json::Value;
use tokio::io::AsyncReadExt as _;

use super::envelope::Problem;
use super::{Api, actions, jobs};
use crate::agent::handle::{PrintOrder, PrinterHandle};
use crate::blocking;
use crate::gcode::analysis::Analysis;
use crate::gcode::recover::{From, Height, height_fits};
use crate::gcode::recover_file::{RecoverError, Rest, rest_of};
use crate::job::record::{JobRecord, JobState};
use crate::job::store::JobFilter;
use crate::json::json;
use crate::printer::command::Command;
use crate::printer::outcome::Refusal;

/// How long reading a file up to its place may take.
const LOOK_LIMIT: Duration = Duration::from_secs(300);
/// How long the printer may take to say where it stands.
const ASK_LIMIT: Duration = Duration::from_secs(10);
/// Bytes copied at a time.
const COPY_LEN: usize = 64 * 1024;
/// Highest nozzle that is believed, mm.
const HEIGHT_MAX_MM: f64 = 2_000.0;

/// What was asked.
#[derive(Clone, Debug, Default, PartialEq)]
struct Wish {
    layer: Option<u32>,
    z_mm: Option<f64>,
    confirm: bool,
    start_id: Option<String>,
    wait: bool,
}

impl Wish {
    fn read(body: &Value) -> Result<Self, Problem> {
        let ours = |key: &str| body.pointer(&format!("/layerd/{key}")).filter(|v| !v.is_null());
        let truth = |key: &str| match ours(key) {
            None => Ok(false),
            Some(Value::Bool(on)) => Ok(*on),
            Some(_) => Err(Problem::bad(format!("`layerd.{key}` must be true or false."))),
        };
        let layer = ours("layer").map(|v| {
            let number = v.as_u64().and_then(|n| u32::try_from(n).ok()).filter(|n| *n > 0);
            number.ok_or_else(|| Problem::bad("`layerd.layer` must be the number of a layer, from 1."))
        });
        let z_mm = ours("z_mm").map(|v| {
            let number = v.as_f64().filter(|z| (0.0..=HEIGHT_MAX_MM).contains(z));
            number.ok_or_else(|| Problem::bad("`layerd.z_mm` must be a height over the bed in millimetres."))
        });
        let start_id = ours("start_id").map(|v| {
            let text = v.as_str().filter(|t| (1..=255).contains(&t.len()));
            text.map(str::to_owned)
                .ok_or_else(|| Problem::bad("`layerd.start_id` must be a text of 1 to 255 characters."))
        });
        Ok(Wish {
            layer: layer.transpose()?,
            z_mm: z_mm.transpose()?,
            confirm: truth("confirm")?,
            start_id: start_id.transpose()?,
            wait: truth("wait")?,
        })
    }
}

/// Says how a print would go on, or goes on with it.
pub(super) async fn act(
    api: &Api,
    printers: &[PrinterHandle],
    body: &Value,
) -> Result<Answer<Value>, Problem> {
    let wish = Wish::read(body)?;
    let [printer] = printers else {
        return Err(Problem::bad("Recover takes one printer at a time."));
    };
    let refused = |refusal: Refusal| Ok(Answer(actions::refusal(&refusal)));
    let record = match last_print(api, printer).await? {
        Ok(record) => record,
        Err(refusal) => return refused(refusal),
    };
    let (rest, analysis) = match look(api, printer, &record, &wish).await {
        Ok(found) => found,
        Err(refusal) => return refused(refusal),
    };
    let plan = json!({
        "job": {"id": record.id, "uid": record.uid, "file": record.file},
        "line": rest.line + 1,
        "layer": (rest.layer > 0).then_some(rest.layer),
        "z_mm": rest.z_mm,
        "stands_mm": rest.top_mm,
        "beginning": rest.beginning.lines().collect::<Vec<_>>(),
    });
    if !wish.confirm {
        return Ok(Answer(
            json!({"status": true, "message": null, "layerd": {"plan": plan}}),
        ));
    }
    let sha256 = match write(api, &record, &rest).await {
        Ok(sha256) => sha256,
        Err(refusal) => return refused(refusal),
    };
    let order = PrintOrder {
        sha256,
        name: record.file.clone(),
        skip: names(&analysis, &record.skipped),
        materials: Vec::new(),
        plate: None,
        start_id: wish.start_id,
    };
    Ok(Answer(actions::start(printer, order, wish.wait).await))
}

/// The newest print of the printer, if it is one that can go on.
async fn last_print(api: &Api, printer: &PrinterHandle) -> Result<Result<JobRecord, Refusal>, Problem> {
    if printer.driver() != "marlin" {
        return Ok(Err(Refusal::new(
            "refused/prints-by-itself",
            "This printer keeps its prints itself: go on at the printer.",
        )));
    }
    if printer.snapshot().state.job.is_some() {
        return Ok(Err(Refusal::new(
            "refused/wrong-state",
            "A print is running: there is nothing to recover.",
        )));
    }
    let filter = JobFilter {
        printers: vec![printer.name().to_owned()],
        page_size: 1,
        ..JobFilter::default()
    };
    let (mut newest, _) = api.agent.store().jobs(filter).await.map_err(jobs::database)?;
    let nothing = |words: &str| Refusal::new("refused/nothing-to-recover", words.to_owned());
    Ok(match newest.pop() {
        None => Err(nothing("This printer has not printed anything yet.")),
        Some(job) if !matches!(job.state, JobState::Interrupted | JobState::Failed) => {
            Err(nothing("The last print was not interrupted."))
        }
        Some(job) if job.started.is_none() || job.sha256.is_none() => {
            Err(nothing("The last print never began: start it again."))
        }
        Some(job) => Ok(job),
    })
}

/// Finds the place in the file and whether the height can be known.
async fn look(
    api: &Api,
    printer: &PrinterHandle,
    record: &JobRecord,
    wish: &Wish,
) -> Result<(Rest, std::sync::Arc<Analysis>), Refusal> {
    let sha256 = record.sha256.clone().unwrap_or_default();
    let gone = |f: crate::printer::fault::Fault| Refusal::new("refused/file", f.to_string());
    let program = api
        .agent
        .spool()
        .program(&sha256, &record.file)
        .await
        .map_err(gone)?;
    let analysis = api.agent.pool().analysis(&sha256).await.map_err(gone)?;
    let stood = record.checkpoint.as_ref();
    let from = match (wish.layer, stood) {
        (Some(layer), _) => From::Layer(layer),
        (None, Some(stood)) => From::Byte(stood.byte),
        (None, None) => {
            return Err(Refusal::new(
                "refused/place-unknown",
                "Where the print stood is not known. Look at the part and name the layer to begin with (--layer N).",
            ));
        }
    };
    let height = match wish.z_mm {
        Some(z_mm) => Height::Measured(z_mm),
        None => Height::Kept,
    };
    let path = program.path;
    let found = blocking::run(move || rest_of(&path, from, height));
    let rest = match tokio::time::timeout(LOOK_LIMIT, found).await {
        Ok(Ok(Ok(rest))) => rest,
        Ok(Ok(Err(RecoverError::Cannot(why)))) => {
            return Err(Refusal::new(
                "refused/cannot-recover",
                format!("The print cannot go on there: {why}."),
            ));
        }
        Ok(Ok(Err(error))) => return Err(Refusal::new("refused/file", error.to_string())),
        Ok(Err(_)) | Err(_) => {
            return Err(Refusal::new(
                "refused/file",
                "The file could not be read in time.",
            ));
        }
    };
    // Not where the head was last: that may have been a hop over the part.
    let stood_mm = rest.top_mm;
    let reported = match height {
        Height::Kept => height_now(printer).await,
        Height::Measured(_) => None,
    };
    if height == Height::Kept && !height_fits(reported.map(f64::from), stood_mm) {
        let seen = reported.map_or_else(|| "nothing".to_owned(), |z| format!("Z {z} mm"));
        return Err(Refusal::new(
            "refused/height-unknown",
            format!(
                "How high the nozzle stands is not known: the part reached {stood_mm:.2} mm, the printer says {seen} \
                 (it was reset, or its motors slept). Lower the nozzle until it touches the top of the part, then \
                 give that height: --z {stood_mm:.2}."
            ),
        ));
    }
    Ok((rest, analysis))
}

/// What the printer says of its height when it is asked now.
async fn height_now(printer: &PrinterHandle) -> Option<f32> {
    let asked = Instant::now();
    let mut watch = printer.watch();
    let question = Command::SendGcode {
        lines: vec!["M114".to_owned()],
        tune: false,
    };
    let answer = async {
        printer.command(question).await;
        let fresh = watch.wait_for(|s| s.state.position.as_ref().is_some_and(|(_, at)| *at >= asked));
        fresh.await.ok()?.state.position.as_ref()?.0.z_mm
    };
    tokio::time::timeout(ASK_LIMIT, answer).await.ok().flatten()
}

/// Puts the new program into the spool; gives its hash.
async fn write(api: &Api, record: &JobRecord, rest: &Rest) -> Result<String, Refusal> {
    let refuse = |text: String| Refusal::new("refused/file", text);
    let sha256 = record.sha256.as_deref().unwrap_or_default();
    let path = api.agent.spool().path_of(sha256);
    let size = record.size.unwrap_or(0).saturating_sub(rest.byte) + rest.beginning.len() as u64;
    let incoming = api.agent.spool().incoming(&record.file, Some(size)).await;
    let mut incoming = incoming.map_err(|f| refuse(f.to_string()))?;
    let copy = async {
        let failed = |e: std::io::Error| refuse(format!("{}: {e}", record.file));
        incoming
            .write(rest.beginning.clone().into())
            .await
            .map_err(|f| refuse(f.to_string()))?;
        let mut file = tokio::fs::File::open(&path).await.map_err(failed)?;
        tokio::io::AsyncSeekExt::seek(&mut file, std::io::SeekFrom::Start(rest.byte))
            .await
            .map_err(failed)?;
        let mut buffer = vec![0; COPY_LEN];
        loop {
            let got = file.read(&mut buffer).await.map_err(failed)?;
            if got == 0 {
                break;
            }
            let piece = buffer.get(..got).unwrap_or_default().to_vec();
            incoming
                .write(piece.into())
                .await
                .map_err(|f| refuse(f.to_string()))?;
        }
        let stored = incoming.finish().await.map_err(|f| refuse(f.to_string()))?;
        Ok(stored.sha256)
    };
    tokio::time::timeout(LOOK_LIMIT, copy).await.unwrap_or_else(|_| {
        Err(refuse(
            "The rest of the file could not be written in time.".to_owned(),
        ))
    })
}

/// Numbers may differ in the shorter file; names do not.
fn names(analysis: &Analysis, ids: &[u32]) -> Vec<String> {
    let known = |id: &u32| analysis.objects.iter().find(|o| o.id == *id);
    ids.iter().filter_map(known).map(|o| o.name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_is_read_strictly() {
        let read = |body: Value| Wish::read(&body);
        assert_eq!(read(json!({})).ok(), Some(Wish::default()));
        let full =
            read(json!({"layerd": {"layer": 7, "z_mm": 3.5, "confirm": true, "wait": true}})).expect("read");
        assert_eq!(
            (full.layer, full.z_mm, full.confirm, full.wait),
            (Some(7), Some(3.5), true, true)
        );
        for bad in [
            json!({"layerd": {"layer": 0}}),
            json!({"layerd": {"layer": "x"}}),
            json!({"layerd": {"z_mm": -1}}),
            json!({"layerd": {"z_mm": 1e9}}),
            json!({"layerd": {"confirm": "yes"}}),
        ] {
            assert!(read(bad.clone()).is_err(), "{bad}");
        }
    }
}
