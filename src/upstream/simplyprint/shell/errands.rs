//! What the core wants done, given to whom can do it.

use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use super::turns::Loop;
use crate::agent::clock;
use crate::upstream::chatter::Line;
use crate::upstream::simplyprint::action::{Action, PictureOrder, PrinterKey};
use crate::upstream::simplyprint::demand::HostDemand;
use crate::upstream::simplyprint::work::{self, Done};

/// Pieces of work at once; when full a demand is dropped with a word in the log.
const WORK_MAX: usize = 256;

/// A host that is busier than this takes no pictures for a live view.
const CPU_BUSY_PERCENT: f32 = 90.0;
/// A camera that gave no picture is asked again after this.
const CAMERA_AGAIN: Duration = Duration::from_secs(60);

impl Loop {
    pub(super) fn act(&mut self, key: PrinterKey, action: Action) {
        let Some(member) = self.members.get_mut(&key) else {
            return;
        };
        let (handle, tools) = (member.handle.clone(), self.shell.tools.clone());
        if self.work.len() >= WORK_MAX {
            if member.chatter.line(Instant::now()) != Line::Drop {
                tracing::error!(
                    code = "cloud/busy",
                    printer = handle.name(),
                    "too much is under way; a demand was dropped"
                );
            }
            return;
        }
        let agent = tools.agent.clone();
        let work: BoxFuture<'static, Done> = match action {
            Action::Command(command) => Box::pin(work::command(handle, command)),
            Action::Gcode {
                lines,
                tune,
                identifier,
            } => Box::pin(work::gcode(handle, lines, tune, identifier)),
            Action::Fetch(order) => {
                let broken_off = CancellationToken::new();
                if let Some(before) = member.fetch.replace(broken_off.clone()) {
                    before.cancel();
                }
                let fetch = work::fetch(tools, key, order, self.percents.0.clone());
                Box::pin(async move {
                    tokio::select! {
                        done = fetch => done,
                        () = broken_off.cancelled_owned() => Done::Nothing,
                    }
                })
            }
            Action::StopFetch => {
                if let Some(running) = member.fetch.take() {
                    running.cancel();
                }
                return;
            }
            Action::Start(order) => {
                let withdrawn = CancellationToken::new();
                member.fetch = Some(withdrawn.clone());
                let start = work::start(tools, handle, order, self.accepted.0.clone());
                Box::pin(async move {
                    tokio::select! {
                        done = start => done,
                        () = withdrawn.cancelled_owned() => Done::Nothing,
                    }
                })
            }
            Action::Forget { sha256 } => {
                tools.fetcher.spool.unpin(&sha256, work::holder(key));
                return;
            }
            Action::LookUp(uid) => Box::pin(work::look_up(agent, key, uid)),
            Action::LookUpStart(start_id) => Box::pin(work::look_up_start(agent, key, start_id)),
            Action::Objects(uid) => Box::pin(work::objects(agent, key, uid)),
            Action::Dismiss(notice) => Box::pin(async move {
                handle.dismiss(&notice).await;
                Done::Nothing
            }),
            Action::Picture(order) => return self.picture(key, order),
            Action::StopStream => return,
            Action::Logs {
                token,
                logs,
                max_body,
                pid,
            } => Box::pin(work::logs(tools, handle, token, logs, max_body, pid)),
            Action::Terminal(on) => {
                member.console = on.then(|| handle.wire().dump().last().cloned().unwrap_or_default());
                return;
            }
            Action::Power { on, keepalive } => Box::pin(work::power(handle, on, keepalive)),
            Action::Host(what) => return self.host(what),
            Action::ClearBed { pid, success, token } => Box::pin(work::clear_bed(tools, pid, success, token)),
            Action::ShowCode(code) => {
                if let Some(code) = &code {
                    tracing::info!(
                        printer = handle.name(),
                        "to claim this printer type the code {code} at SimplyPrint"
                    );
                }
                member.code = code;
                return;
            }
            Action::Note(text) => {
                match member.chatter.line(Instant::now()) {
                    Line::Drop => return,
                    Line::Log => {}
                    Line::LogAfter(dropped) => {
                        tracing::warn!(
                            printer = handle.name(),
                            code = "cloud/chatter",
                            "the cloud caused {dropped} more lines that were not logged"
                        );
                    }
                }
                tracing::info!(printer = handle.name(), "cloud: {text}");
                return;
            }
        };
        self.work.push(work);
    }

    fn picture(&mut self, key: PrinterKey, order: PictureOrder) {
        let Some(member) = self.members.get(&key) else {
            return;
        };
        // A live view is the first thing that a host without reserve goes without.
        let busy = self.shell.house.host.borrow().cpu_percent > Some(CPU_BUSY_PERCENT);
        if busy && order == PictureOrder::Frame {
            if let Some(core) = self.session.printer_mut(key) {
                core.frame(clock::now(), None);
            }
            return;
        }
        let tools = self.shell.tools.clone();
        self.work
            .push(Box::pin(work::picture(tools, member.handle.clone(), order)));
    }

    /// Finds out whether a camera works, when nobody has asked it for long.
    pub(super) fn look_through(&mut self, key: PrinterKey) {
        let Some(member) = self.members.get_mut(&key) else {
            return;
        };
        let due = match member.handle.camera_works() {
            None | Some(Some(true)) => false,
            Some(None) => member.camera_asked.is_none(),
            Some(Some(false)) => member.camera_asked.is_none_or(|at| at.elapsed() >= CAMERA_AGAIN),
        };
        if !due || self.work.len() >= WORK_MAX {
            return;
        }
        member.camera_asked = Some(Instant::now());
        let handle = member.handle.clone();
        self.work.push(Box::pin(async move {
            if let Err(fault) = handle.picture(false).await {
                tracing::info!(printer = handle.name(), code = %fault.code, "{fault}");
            }
            Done::Nothing
        }));
    }

    fn host(&mut self, what: HostDemand) {
        let verb = match what {
            HostDemand::Reboot => "reboot",
            HostDemand::Shutdown => "poweroff",
            HostDemand::Restart | HostDemand::Stop => {
                tracing::warn!("the cloud asked for a restart of layerd, which its owner allows");
                self.shell.house.restart.notify_one();
                return;
            }
        };
        tracing::warn!("the cloud asked for a {verb} of this host, which its owner allows");
        self.work.push(Box::pin(async move {
            let done = tokio::process::Command::new("systemctl")
                .args(["--no-ask-password", verb])
                .kill_on_drop(true)
                .output();
            match tokio::time::timeout(Duration::from_secs(20), done).await {
                Ok(Ok(out)) if out.status.success() => {}
                _ => tracing::error!(
                    code = "cloud/host",
                    "the host did not obey: \"systemctl {verb}\" failed"
                ),
            }
            Done::Nothing
        }));
    }
}
