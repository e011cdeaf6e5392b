//! Talking to systemd: ready, status, watchdog, and why it stops us.

use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::process::Command;

use super::fdstore::FdStore;
use super::notify::NotifySocket;

/// How long systemd may take to say which job it runs for this unit. A small board that unpacks a package is slow to answer,
/// and no answer ends a print; while it is asked prints go on.
const JOB_LIMIT: Duration = Duration::from_secs(10);
/// How often it is asked: in an upgrade of the system, buses are restarted too.
const JOB_TRIES: u32 = 3;
const JOB_AGAIN: Duration = Duration::from_millis(300);
/// The unit's name where the control group does not tell.
const USUAL_UNIT: &str = "layerd.service";
/// A status line that a terminal can show.
const STATUS_MAX: usize = 200;

/// What systemd wants when it sends SIGTERM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobType {
    /// The unit is started again at once.
    Restart,
    /// A plain stop, a shutdown, no systemd, or no answer in time.
    Other,
}

/// The service manager, or nobody.
#[derive(Debug, Default)]
pub struct Systemd {
    socket: Option<Arc<NotifySocket>>,
    watchdog: Option<Duration>,
    status: Mutex<String>,
}

/// Finds the service manager and takes the descriptors that it kept.
///
/// Call it first thing in `main`, before any thread starts (see [`crate::sys::take_listen_fds`]).
pub fn attach() -> (Systemd, Arc<FdStore>) {
    let inherited = crate::sys::take_listen_fds();
    let socket = NotifySocket::from_env().map(Arc::new);
    let store = Arc::new(FdStore::new(inherited, socket.clone()));
    let watchdog = socket.as_ref().and_then(|_| sd_notify::watchdog_enabled());
    (Systemd::new(socket, watchdog), store)
}

impl Systemd {
    /// A manager behind a socket, with its watchdog interval.
    pub fn new(socket: Option<Arc<NotifySocket>>, watchdog: Option<Duration>) -> Self {
        Systemd {
            socket,
            watchdog,
            status: Mutex::default(),
        }
    }

    /// Whether anybody manages this process.
    pub fn is_present(&self) -> bool {
        self.socket.is_some()
    }

    /// Started, or done reloading.
    pub fn ready(&self) {
        self.tell(&[NotifyState::Ready]);
    }

    /// One line for `systemctl status`; sent only when it changed.
    pub fn status(&self, text: &str) {
        let text: String = text
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .take(STATUS_MAX)
            .collect();
        let mut last = self
            .status
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        if *last != text {
            self.tell(&[NotifyState::Status(&text)]);
            *last = text;
        }
    }

    /// Alive; to be called from the agent's own loop.
    pub fn watchdog(&self) {
        if self.watchdog.is_some() {
            self.tell(&[NotifyState::Watchdog]);
        }
    }

    /// Reading the configuration again; [`Systemd::ready`] ends it.
    pub fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.tell(&[NotifyState::Reloading, now]),
            Err(_) => self.tell(&[NotifyState::Reloading]),
        }
    }

    /// On the way out.
    pub fn stopping(&self) {
        self.tell(&[NotifyState::Stopping]);
    }

    /// Half of the watchdog's interval; [`Duration::MAX`] without a watchdog.
    pub fn watchdog_half(&self) -> Duration {
        self.watchdog.map_or(Duration::MAX, |interval| interval / 2)
    }

    /// Asks which job systemd has queued for this unit.
    ///
    /// A restart and a stop both begin with SIGTERM; only the queued job tells them apart. Anything
    /// unclear counts as a stop, since that is the safe side: heaters go off.
    pub async fn job_type(&self) -> JobType {
        if self.socket.is_none() {
            return JobType::Other;
        }
        match tokio::time::timeout(JOB_LIMIT, queued_job()).await {
            Ok(Ok(job)) => job,
            Ok(Err(why)) => {
                // A print may end for this, so the log has to tell why.
                tracing::warn!("systemctl cannot tell whether this is a restart: {why}");
                JobType::Other
            }
            Err(_) => {
                tracing::warn!("systemctl did not say in time whether this is a restart");
                JobType::Other
            }
        }
    }

    fn tell(&self, states: &[NotifyState<'_>]) {
        if let Some(socket) = &self.socket
            && let Err(error) = socket.send(states, &[])
        {
            tracing::debug!("systemd was not told: {error}");
        }
    }
}

/// What `systemctl` says of the jobs of this unit, or its words when it fails each time.
async fn queued_job() -> Result<JobType, String> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let (unit, of_user) = unit_of(&groups);
    let mut said = String::new();
    for tried in 0..JOB_TRIES {
        if tried > 0 {
            tokio::time::sleep(JOB_AGAIN).await;
        }
        let mut command = Command::new("systemctl");
        if of_user {
            command.arg("--user");
        }
        command
            .args(["list-jobs", "--no-legend", "--plain", "--full", &unit])
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let output = command.output().await.map_err(|e| e.to_string())?;
        if output.status.success() {
            return Ok(job_in(&String::from_utf8_lossy(&output.stdout), &unit));
        }
        said = String::from_utf8_lossy(&output.stderr)
            .trim()
            .chars()
            .take(300)
            .collect();
    }
    Err(said)
}

/// The unit of a process by its control group, and whether a user's manager runs it.
fn unit_of(groups: &str) -> (String, bool) {
    let found = groups.lines().find_map(|line| {
        let path = line.splitn(3, ':').nth(2)?;
        let unit = path.rsplit('/').find(|part| part.ends_with(".service"))?;
        let of_user = path.contains("/user@") && !unit.starts_with("user@");
        Some((unit.to_owned(), of_user))
    });
    found.unwrap_or_else(|| (USUAL_UNIT.to_owned(), false))
}

/// The job in the output of `systemctl list-jobs`: `812 layerd.service restart running`.
fn job_in(jobs: &str, unit: &str) -> JobType {
    let restarts = jobs.lines().any(|line| {
        let mut fields = line.split_whitespace().skip(1);
        fields.next() == Some(unit) && matches!(fields.next(), Some("restart" | "try-restart"))
    });
    if restarts {
        JobType::Restart
    } else {
        JobType::Other
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;

    #[test]
    fn the_unit_is_read_from_the_control_group() {
        assert_eq!(
            unit_of("0::/system.slice/layerd.service\n"),
            ("layerd.service".into(), false)
        );
        assert_eq!(
            unit_of("0::/system.slice/system-layerd.slice/layerd@a.service\n"),
            ("layerd@a.service".into(), false)
        );
        assert_eq!(
            unit_of("0::/user.slice/user-1000.slice/user@1000.service/app.slice/layerd.service\n"),
            ("layerd.service".into(), true)
        );
        assert_eq!(unit_of("0::/\n"), ("layerd.service".into(), false));
    }

    #[test]
    fn only_a_restart_of_this_unit_is_a_restart() {
        let unit = "layerd.service";
        assert_eq!(
            job_in("812 layerd.service restart running\n", unit),
            JobType::Restart
        );
        assert_eq!(job_in("812 layerd.service stop running\n", unit), JobType::Other);
        assert_eq!(
            job_in("812 other.service restart waiting\n", unit),
            JobType::Other
        );
        assert_eq!(job_in("No jobs running.\n", unit), JobType::Other);
        assert_eq!(job_in("", unit), JobType::Other);
    }

    #[tokio::test]
    async fn the_manager_hears_each_change_once() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("notify");
        let manager = UnixDatagram::bind(&path).expect("a socket");
        let socket = NotifySocket::to(path.as_os_str()).expect("an address");
        let systemd = Systemd::new(Some(Arc::new(socket)), Some(Duration::from_secs(30)));
        systemd.ready();
        systemd.status("1 printer\nREADY=1");
        systemd.status("1 printer\nREADY=1");
        systemd.watchdog();
        systemd.reloading();
        systemd.stopping();
        let mut buffer = [0; 256];
        let mut next = || {
            let count = manager.recv(&mut buffer).expect("a message");
            String::from_utf8_lossy(&buffer[..count]).into_owned()
        };
        assert_eq!(next(), "READY=1\n");
        assert_eq!(next(), "STATUS=1 printer READY=1\n");
        assert_eq!(next(), "WATCHDOG=1\n");
        assert!(next().starts_with("RELOADING=1\nMONOTONIC_USEC="));
        assert_eq!(next(), "STOPPING=1\n");
        assert_eq!(systemd.watchdog_half(), Duration::from_secs(15));
    }

    #[tokio::test]
    async fn without_a_manager_nothing_is_said_and_a_stop_is_a_stop() {
        let systemd = Systemd::default();
        systemd.ready();
        systemd.watchdog();
        assert_eq!(systemd.watchdog_half(), Duration::MAX);
        assert_eq!(systemd.job_type().await, JobType::Other);
    }
}
