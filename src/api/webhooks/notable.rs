//! What is worth telling between two moments of a printer. Pure.

use jiff::Timestamp;
use serde_json::Value;

use crate::agent::handle::Snapshot;
use crate::api::job_view;
use crate::job::record::{JobRecord, JobState};
use crate::json::json;
use crate::printer::model::{ActiveJob, Activity, MaterialSlot, Origin};

/// Every event that this host can tell of: those of the cloud, `test`, and two of ours (`printer.online`,
/// `printer.offline`).
pub const EVENTS: &[&str] = &[
    "job.started",
    "job.paused",
    "job.resumed",
    "job.cancelled",
    "job.done",
    "job.failed",
    "job.bed_cleared",
    "job.objects_skipped",
    "printer.autoprint_state_changed",
    "printer.material_changed",
    "printer.offline",
    "printer.online",
    "test",
];

/// Events that the cloud alone can tell of. Asking for them is no mistake: the same programs talk to both.
pub const CLOUD_EVENTS: &[&str] = &[
    "balance.adjusted",
    "balance.charged",
    "balance.refunded",
    "balance.topped_up",
    "company.autoprint_state_changed",
    "filament.assigned",
    "filament.create",
    "filament.delete",
    "filament.unassigned",
    "filament.update",
    "maintenance.job_cancelled",
    "maintenance.job_completed",
    "maintenance.job_created",
    "maintenance.job_deleted",
    "maintenance.job_overdue",
    "maintenance.job_reopened",
    "maintenance.job_started",
    "maintenance.job_updated",
    "maintenance.low_stock",
    "maintenance.problem_reported",
    "maintenance.problem_resolved",
    "maintenance.schedule_created",
    "maintenance.schedule_deleted",
    "maintenance.schedule_updated",
    "maintenance.spare_part_created",
    "maintenance.spare_part_deleted",
    "maintenance.spare_part_updated",
    "maintenance.stock_adjusted",
    "maintenance.task_completed",
    "maintenance.task_skipped",
    "organization.user_pending",
    "organization.user_signup",
    "printer.ai_failure_detected",
    "printer.ai_failure_false_positive",
    "printer.ai_state_changed",
    "printer.autoprint_max_cycles",
    "printer.custom_tag_assigned",
    "printer.custom_tag_detached",
    "printer.nozzle_size_changed",
    "printer.out_of_order_state_changed",
    "queue.add_item",
    "queue.delete_item",
    "queue.empty_queue",
    "queue.item_approved",
    "queue.item_denied",
    "queue.item_pending_approval",
    "queue.move_item",
    "queue.revive_item",
    "quota.adjusted",
    "quota.request_new",
    "quota.request_resolved",
    "quota.reset",
];

/// The dialect of webhooks that were made in AutoPrintFarm's shape.
pub const AUTOPRINTFARM: &str = "autoprintfarm";

/// The dialect of webhooks that were made in SoLoPrint's shape.
pub const SOLOPRINT: &str = "soloprint";

/// What an event is called in a dialect.
pub fn word_in<'a>(dialect: &str, event: &'a str) -> &'a str {
    match event {
        "job.done" if dialect == AUTOPRINTFARM => "job.completed",
        other => other,
    }
}

/// A thing that happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Notable {
    /// One of [`EVENTS`].
    pub event: &'static str,
    /// The member `data` of the message.
    pub data: Value,
}

/// Which printer.
#[derive(Clone, Copy, Debug)]
pub struct Which<'a> {
    /// Its number.
    pub id: i64,
    /// Its name.
    pub name: &'a str,
}

/// What happened between two moments. `since`: when this daemon began; a print that is older was told of
/// by the daemon before.
pub fn between(which: Which<'_>, before: &Snapshot, after: &Snapshot, since: Timestamp) -> Vec<Notable> {
    let mut out = Vec::new();
    let mut tell = |event, data| out.push(Notable { event, data });
    let printer = json!({"id": which.id, "name": which.name});
    let (old, new) = (&before.state, &after.state);
    if old.offline != new.offline {
        let event = if new.offline {
            "printer.offline"
        } else {
            "printer.online"
        };
        tell(event, json!({"printer": printer, "user": null}));
    }
    if let (Some(a), Some(b)) = (old.bed_cycle, new.bed_cycle)
        && a.on != b.on
    {
        tell(
            "printer.autoprint_state_changed",
            json!({"user": null, "printer": printer, "enabled": b.on}),
        );
    }
    let ended = after
        .last
        .as_deref()
        .filter(|last| before.last.as_deref().is_none_or(|b| b.uid != last.uid));
    let was = |uid| old.job.as_ref().filter(|job| job.uid == uid);
    if let Some(last) = ended {
        let known = was(last.uid).is_some_and(|job| job.started.is_some());
        let job = finished(which, last);
        if last.started.is_some_and(|at| at >= since) && !known {
            tell(
                "job.started",
                json!({"job": job, "user": null, "started_by": null}),
            );
        }
        match last.state {
            JobState::Done => tell("job.done", json!({"job": job})),
            JobState::Cancelled => tell("job.cancelled", json!({"job": job, "user": null})),
            _ => tell("job.failed", json!({"job": job})),
        }
    }
    if let Some(job) = &new.job {
        let seen = was(job.uid);
        let now = running(which, after, job);
        let began = job.started.is_some_and(|at| at >= since) && seen.is_none_or(|j| j.started.is_none());
        if began {
            tell(
                "job.started",
                json!({"job": now, "user": null, "started_by": null}),
            );
        }
        let stood = matches!(old.activity, Activity::Paused(_) | Activity::Resuming) && seen.is_some();
        let stands = matches!(new.activity, Activity::Paused(_));
        if stands && !matches!(old.activity, Activity::Paused(_)) && (seen.is_some() || began) {
            tell("job.paused", json!({"job": now}));
        }
        if stood && matches!(new.activity, Activity::Printing) {
            tell("job.resumed", json!({"job": now}));
        }
        let more: Vec<u32> = match seen {
            Some(old) => job
                .skipped
                .iter()
                .filter(|id| !old.skipped.contains(*id))
                .copied()
                .collect(),
            None if began => job.skipped.clone(),
            None => Vec::new(),
        };
        if !more.is_empty() {
            tell(
                "job.objects_skipped",
                json!({"job": now, "skipped_object_ids": more, "user": null}),
            );
        }
    }
    if old.bed_dirty && !new.bed_dirty {
        let job = after.last.as_deref().map(|last| finished(which, last));
        tell("job.bed_cleared", json!({"job": job, "user": null}));
    }
    if let (Some(a), Some(b)) = (&old.materials, &new.materials)
        && spools(a) != spools(b)
    {
        let slots: serde_json::Map<String, Value> = b
            .iter()
            .enumerate()
            .map(|(n, slot)| (n.to_string(), json!(slot)))
            .collect();
        tell(
            "printer.material_changed",
            json!({"printer": printer, "user": null, "material": slots}),
        );
    }
    out
}

/// What is a change of material; that a spool gets lighter is none.
fn spools(slots: &[MaterialSlot]) -> Vec<MaterialSlot> {
    let without = |slot: &MaterialSlot| MaterialSlot {
        remain_percent: None,
        ..slot.clone()
    };
    slots.iter().map(without).collect()
}

fn job(which: Which<'_>, members: Value) -> Value {
    let mut out = json!({
        "panel_url": null, "printer_id": which.id, "analysis": null, "autoprint": false, "ai": null, "cost": null,
        "printer": {"id": which.id, "name": which.name},
    });
    if let (Value::Object(out), Value::Object(members)) = (&mut out, members) {
        out.extend(members);
    }
    out
}

fn ids(skipped: &[u32]) -> Value {
    if skipped.is_empty() {
        Value::Null
    } else {
        json!(skipped)
    }
}

fn running(which: Which<'_>, at: &Snapshot, now: &ActiveJob) -> Value {
    let started = now.started.map(Timestamp::as_second);
    job(
        which,
        json!({
            "id": at.job_id, "uid": now.uid, "state": at.state.word(), "file": now.file,
            "percentage": now.progress.percent.map(|p| p.floor() as i64), "time_left": now.progress.time_left_s,
            "current_layer": now.progress.layer, "started": started, "ended": null,
            "duration": started.map(|s| (at.at.wall.as_second() - s).max(0)), "skippedObjects": ids(&now.skipped),
            "outsideSystem": now.origin == Origin::Outside,
        }),
    )
}

fn finished(which: Which<'_>, record: &JobRecord) -> Value {
    let number = Some(record.id).filter(|id| *id != 0);
    let fault = record.fault.as_ref();
    job(
        which,
        json!({
            "id": number, "uid": record.uid, "state": job_view::status(record.state), "file": record.file,
            "percentage": record.percent.map(|p| p.floor() as i64), "time_left": null, "current_layer": record.layer,
            "started": record.started.map(Timestamp::as_second), "ended": record.ended.map(Timestamp::as_second),
            "duration": record.duration_s(), "skippedObjects": ids(&record.skipped),
            "outsideSystem": record.origin == Origin::Outside,
            "layerd": {"state": record.state, "code": fault.map(|f| &f.code), "message": fault.map(ToString::to_string)},
        }),
    )
}
