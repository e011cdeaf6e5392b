//! One element of `printers/Get`: what the printer says, with what the host and the configuration know.

use serde_json::Value;

use super::view::{self, Who};
use super::{Api, autoprint, host_view};
use crate::agent::clock;
use crate::agent::handle::PrinterHandle;
use crate::agent::pairing::Pairing;
use crate::json::json;

/// One element of the list.
pub(super) fn row(api: &Api, printer: &PrinterHandle) -> Value {
    let snapshot = printer.snapshot();
    let who = Who {
        name: printer.name(),
        id: printer.id(),
        driver: printer.driver(),
        camera: printer.camera_works().is_some(),
    };
    let mut row = view::row(who, &snapshot.state, snapshot.job_id, clock::now());
    if let Some(printer_row) = row.get_mut("printer").and_then(Value::as_object_mut) {
        printer_row.extend(host_view::members(&api.host.borrow()));
        let model = host_view::model(&printer.limits(), &snapshot.state);
        printer_row.insert("model".to_owned(), model);
        if printer.release_settings().is_some() {
            let now = clock::now().mono;
            printer_row.insert(
                "autoprintDetails".to_owned(),
                autoprint::state(printer.id(), &snapshot.state, now),
            );
        }
    }
    if let Some(native) = row.get_mut("layerd").and_then(Value::as_object_mut) {
        native.insert("upstreams".to_owned(), upstreams(api, printer));
    }
    row
}

/// How a printer stands with each upstream, by name.
pub(super) fn upstreams(api: &Api, printer: &PrinterHandle) -> Value {
    let all = api.agent.pairings().of(printer.id()).into_iter();
    Value::Object(
        all.map(|(upstream, pairing)| (upstream.to_owned(), standing(&pairing)))
            .collect(),
    )
}

/// How a printer stands with an upstream; `code` claims it there.
fn standing(pairing: &Pairing) -> Value {
    json!({
        "connected": pairing.connected, "code": pairing.code, "id": pairing.id, "name": pairing.name,
        "trouble": pairing.trouble,
    })
}

/// A column that is told only when it is asked for by name.
pub(super) fn column(api: &Api, printer: &PrinterHandle, name: &str) -> Option<Value> {
    let snapshot = printer.snapshot();
    match name {
        "lastOnline" => snapshot
            .state
            .is_up()
            .then(|| json!(view::rfc3339(clock::now().wall))),
        "probeData" => snapshot
            .state
            .mesh
            .as_deref()
            .map(|m| json!({"min": m.min_mm, "max": m.max_mm, "rows": m.rows_mm})),
        name => host_view::column(&api.host.borrow(), &api.host_name, name),
    }
}
