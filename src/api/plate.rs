//! The plate seen from above: `printers/GetPlate` (what prints now) and `files/GetAnalysis` (an uploaded
//! file, checked for a printer before anybody starts it).

use axum::Json as Answer;
use axum::extract::State;
use serde_json::Value;

use super::envelope::Problem;
use super::incoming::Params;
use super::{Api, pid};
use crate::agent::handle::PrinterHandle;
use crate::agent::objects;
use crate::gcode::analysis::{Analysis, Bounds, Object};
use crate::job::preflight::{self, Limits, Report};
use crate::job::store::UploadRow;
use crate::json::json;
use crate::printer::fault::Fault;

/// Most objects with their outlines in one answer.
const OBJECTS_MAX: usize = 1000;

/// Plates of a project that may be named.
const PLATE_MAX: u32 = 1000;

/// `printers/GetPlate?pid=`: bed and objects of the print in hand. `data.job` is null without one; outlines
/// are there when the file is.
pub async fn of_print(State(api): State<Api>, params: Params) -> Result<Answer<Value>, Problem> {
    let printer = one(&api, &params)?;
    let snapshot = printer.snapshot();
    let bed = bed(&printer.limits());
    let Some(job) = &snapshot.state.job else {
        let data = json!({"job": null, "bed": bed, "objects": [], "part": null});
        return Ok(Answer(json!({"status": true, "message": null, "data": data})));
    };
    let objects = match analysis_of_print(&api, job.uid).await {
        Some(analysis) => (outlines(&analysis.objects, &job.skipped), part(&analysis.bounds)),
        // A print of another host: its printer may know the names.
        None => {
            let known = objects::of_print(&api.agent, &printer).await.unwrap_or_default();
            let bare = known.iter().take(OBJECTS_MAX).map(|o| {
                json!({"id": o.id, "name": o.name, "skipped": job.skipped.contains(&o.id),
                       "center": null, "bbox": null, "polygon": []})
            });
            (bare.collect(), Value::Null)
        }
    };
    let data = json!({
        "job": {"uid": job.uid, "file": job.file},
        "bed": bed,
        "objects": objects.0,
        "part": objects.1,
    });
    Ok(Answer(json!({"status": true, "message": null, "data": data})))
}

async fn analysis_of_print(api: &Api, uid: uuid::Uuid) -> Option<std::sync::Arc<Analysis>> {
    let record = api.agent.store().job(uid).await.ok()??;
    let pool = api.agent.pool();
    pool.analysis_of(record.sha256.as_deref()?, record.plate)
        .await
        .ok()
}

/// `files/GetAnalysis?id=&pid=&plate=`: what is known about an uploaded file and, with a printer, whether
/// it may be printed there. Starts nothing.
pub async fn of_file(State(api): State<Api>, params: Params) -> Result<Answer<Value>, Problem> {
    let id = params.text("id").unwrap_or_default();
    let id = Some(id).filter(|t| (1..=255).contains(&t.len()) && t.bytes().all(|b| b.is_ascii_hexdigit()));
    let id = id.ok_or_else(|| Problem::bad("`id` must be the id that the upload answered."))?;
    let plate = params.number("plate", 1, PLATE_MAX)?;
    let printer = params.text("pid").map(|_| one(&api, &params)).transpose()?;
    let file = api
        .agent
        .spool()
        .file(&id.to_ascii_lowercase())
        .await
        .ok_or_else(|| {
            Problem::not_found("The file is not here (any more). Upload it again.")
                .coded("refused/unknown-file")
        })?;
    let pool = api.agent.pool();
    let analysis = pool
        .analysis_of(&file.sha256, plate)
        .await
        .map_err(|fault| not_read(&fault))?;
    let limits = printer.as_ref().map(PrinterHandle::limits);
    let check = match &limits {
        None => Value::Null,
        Some(limits) => checked(
            &check(&api, &file, plate, limits)
                .await
                .map_err(|f| not_read(&f))?,
        ),
    };
    let shown = serde_json::to_value(Analysis {
        file: Some(file.name.clone()),
        sha256: Some(file.sha256.clone()),
        objects: Vec::new(),
        ..Analysis::clone(&analysis)
    });
    let data = json!({
        "id": file.sha256,
        "name": file.name,
        "size": file.size,
        "bed": limits.as_ref().map_or(Value::Null, bed),
        "objects": outlines(&analysis.objects, &[]),
        "part": part(&analysis.bounds),
        "check": check,
        "analysis": shown.map_err(|_| unwritten())?,
    });
    Ok(Answer(json!({"status": true, "message": null, "data": data})))
}

/// What the pre-flight says of a file for a printer with these limits.
pub(super) async fn check(
    api: &Api,
    file: &UploadRow,
    plate: Option<u32>,
    limits: &Limits,
) -> Result<Report, Fault> {
    let pool = api.agent.pool();
    let analysis = pool.analysis_of(&file.sha256, plate).await?;
    let report = preflight::check(&analysis, limits, &file.name, &[]);
    if report.may_name_lines() {
        // As at the start: a second look names the lines to blame.
        if let Ok(exact) = pool.analysis_for(&file.sha256, plate, limits).await {
            return Ok(preflight::check(&exact, limits, &file.name, &[]));
        }
    }
    Ok(report)
}

fn unwritten() -> Problem {
    Problem::with(
        axum::http::StatusCode::INTERNAL_SERVER_ERROR,
        "The analysis of this file cannot be written as JSON.",
    )
}

fn not_read(fault: &Fault) -> Problem {
    let problem = Problem::said(fault.to_string());
    match fault.code {
        std::borrow::Cow::Borrowed(code) => problem.coded(code),
        std::borrow::Cow::Owned(_) => problem,
    }
}

fn one(api: &Api, params: &Params) -> Result<PrinterHandle, Problem> {
    let mut printers = api.printers(&pid::pids(params.text("pid"), &Value::Null)?)?;
    match (printers.pop(), printers.is_empty()) {
        (Some(printer), true) => Ok(printer),
        _ => Err(Problem::bad("One printer at a time, please.")),
    }
}

/// What the pre-flight would say.
fn checked(report: &Report) -> Value {
    let refusal = report.refusal();
    json!({
        "passes": refusal.is_none(),
        "code": refusal.as_ref().map(|r| r.code),
        "message": refusal.as_ref().map(|r| &r.message),
        "problems": report.problems.iter().map(|p| json!({
            "code": p.code, "line": p.line, "message": p.text, "refuses": p.refuse,
        })).collect::<Vec<_>>(),
    })
}

fn bed(limits: &Limits) -> Value {
    limits.bed().map_or(
        Value::Null,
        |bed| json!({"min": bed.min, "max": bed.max, "height": bed.height_mm, "round": bed.round}),
    )
}

fn part(bounds: &Bounds) -> Value {
    let part = bounds.part.or(bounds.extruding);
    part.map_or(Value::Null, |b| json!({"min": b.min, "max": b.max}))
}

fn outlines(objects: &[Object], skipped: &[u32]) -> Vec<Value> {
    let one = |o: &Object| {
        json!({
            "id": o.id,
            "name": o.name,
            "skipped": skipped.contains(&o.id),
            "center": o.center,
            "bbox": o.bbox,
            "polygon": o.polygon,
        })
    };
    objects.iter().take(OBJECTS_MAX).map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_bed_and_without_moves_nothing_is_made_up() {
        assert_eq!(bed(&Limits::default()), Value::Null);
        assert_eq!(part(&Bounds::default()), Value::Null);
        let object = Object {
            id: 3,
            name: "cone".to_owned(),
            ..Object::default()
        };
        let shown = outlines(&[object], &[3]);
        assert_eq!(
            shown,
            [json!({"id": 3, "name": "cone", "skipped": true, "center": null, "bbox": null, "polygon": []})]
        );
    }

    #[test]
    fn the_bed_stands_where_the_origin_says() {
        let limits = Limits {
            bed_mm: Some([200.0, 100.0, 50.0]),
            origin_center: true,
            ..Limits::default()
        };
        assert_eq!(
            bed(&limits),
            json!({"min": [-100.0, -50.0], "max": [100.0, 50.0], "height": 50.0, "round": false})
        );
    }
}
