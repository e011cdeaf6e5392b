//! A stand-in for systemd: starts one service, keeps its descriptors, restarts it.
//!
//! It does what `systemd.service(5)` and `sd_notify(3)` promise and nothing more: a notify socket,
//! `FDSTORE=1` / `FDSTOREREMOVE=1` with `FDNAME`, the stored descriptors passed on from number 3 with
//! `LISTEN_FDS`, and a `systemctl` in `PATH` that knows the queued job. A plain stop empties the
//! store, as `FileDescriptorStorePreserve=restart` does.

#![allow(dead_code, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::ffi::OsString;
use std::fs;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use command_fds::{CommandFdExt, FdMapping};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::{Pid, Signal, kill_process};

/// How long a service may take for what is asked of it.
const LIMIT: Duration = Duration::from_secs(20);

/// What to run.
#[derive(Clone, Debug, Default)]
pub struct Service {
    pub program: PathBuf,
    pub args: Vec<OsString>,
    pub env: Vec<(OsString, OsString)>,
    pub watchdog: Option<Duration>,
}

/// What the service has said and left in the store.
#[derive(Debug, Default)]
pub struct Heard {
    /// `READY=1`, counted over all runs.
    pub ready: u32,
    pub reloading: u32,
    pub stopping: u32,
    pub watchdog: u32,
    pub status: String,
    pub store: Vec<(String, OwnedFd)>,
}

impl Heard {
    pub fn stored(&self) -> Vec<&str> {
        self.store.iter().map(|(name, _)| name.as_str()).collect()
    }
}

pub struct Manager {
    dir: tempfile::TempDir,
    service: Service,
    child: Option<Child>,
    shared: Arc<Shared>,
    listener: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    heard: Mutex<Heard>,
    changed: Condvar,
    stop: AtomicBool,
}

impl Manager {
    /// Starts the service and waits until it says `READY=1`.
    pub fn start(service: Service) -> Manager {
        let dir = tempfile::tempdir().expect("a directory");
        let socket = UnixDatagram::bind(dir.path().join("notify")).expect("a socket");
        socket
            .set_read_timeout(Some(Duration::from_millis(50)))
            .expect("a timeout");
        let script = dir.path().join("systemctl");
        let body = "#!/bin/sh\nfor last; do :; done\n\
                    [ ! -e \"${0%/*}/doomed\" ] || { rm \"${0%/*}/doomed\"; kill -TERM $$; }\n\
                    while read -r job; do echo \"7 $last $job running\"; done < \"${0%/*}/job\"\n";
        fs::write(&script, body).expect("a script");
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("executable");
        fs::write(dir.path().join("job"), "").expect("a file");

        let shared = Arc::new(Shared::default());
        let listener = std::thread::spawn({
            let shared = shared.clone();
            move || listen(&socket, &shared)
        });
        let mut manager = Manager {
            dir,
            service,
            child: None,
            shared,
            listener: Some(listener),
        };
        manager.launch();
        manager
    }

    /// `systemctl restart`: SIGTERM with a queued restart job, then the next run with the store.
    pub fn restart(&mut self) -> ExitStatus {
        let status = self.end("restart");
        self.launch();
        status
    }

    /// The service dies without a word, and is started again (`Restart=on-failure`).
    pub fn kill9_and_restart(&mut self) {
        self.kill9();
        self.launch();
    }

    /// The service dies without a word and stays away.
    pub fn kill9(&mut self) {
        self.signal(Signal::KILL);
        self.reap();
    }

    /// `systemctl stop`: SIGTERM with a queued stop job; the store is emptied.
    pub fn stop(&mut self) -> ExitStatus {
        let status = self.end("stop");
        self.heard().store.clear();
        status
    }

    /// `systemctl start` after a stop.
    pub fn launch_again(&mut self) {
        self.launch();
    }

    /// The next `systemctl` is ended by the SIGTERM that the whole service gets.
    pub fn doom_one_question(&self) {
        fs::write(self.dir.path().join("doomed"), "").expect("a file");
    }

    /// The store is lost, as after a crash of the manager or a cold boot.
    pub fn lose_store(&mut self) {
        self.heard().store.clear();
    }

    pub fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("a running service");
        let pid = Pid::from_raw(child.id() as i32).expect("a process id");
        kill_process(pid, signal).expect("the signal is sent");
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("a running service").id()
    }

    /// What was heard so far.
    pub fn heard(&self) -> MutexGuard<'_, Heard> {
        self.shared.heard.lock().expect("no panic in the listener")
    }

    /// Waits until something was heard; panics with what was heard otherwise.
    pub fn wait_for(&self, what: &str, wanted: impl Fn(&Heard) -> bool) {
        let (heard, result) = self
            .shared
            .changed
            .wait_timeout_while(self.heard(), LIMIT, |heard| !wanted(heard))
            .expect("no panic in the listener");
        assert!(!result.timed_out(), "waited in vain for {what}: {heard:?}");
    }

    fn end(&mut self, job: &str) -> ExitStatus {
        fs::write(self.dir.path().join("job"), format!("{job}\n")).expect("a file");
        self.signal(Signal::TERM);
        let status = self.reap();
        fs::write(self.dir.path().join("job"), "").expect("a file");
        status
    }

    fn reap(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("a running service");
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Some(status) = child.try_wait().expect("a child") {
                return status;
            }
            if Instant::now() > deadline {
                let _ = child.kill();
                let _ = child.wait();
                panic!("the service did not end within {LIMIT:?}");
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }

    fn launch(&mut self) {
        let ready = self.heard().ready;
        let child = self.spawn().expect("the service starts");
        self.child = Some(child);
        let (_heard, result) = self
            .shared
            .changed
            .wait_timeout_while(self.heard(), LIMIT, |heard| heard.ready == ready)
            .expect("no panic in the listener");
        assert!(!result.timed_out(), "the service did not become ready");
    }

    fn spawn(&self) -> io::Result<Child> {
        // Only the process itself knows its id before it runs.
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "LISTEN_PID=$$ exec \"$@\"", "sh"]);
        command.arg(&self.service.program).args(&self.service.args);
        command.envs(self.service.env.iter().map(|(k, v)| (k, v)));
        let mut path = self.dir.path().as_os_str().to_owned();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        command.env("PATH", path);
        command.env("NOTIFY_SOCKET", self.dir.path().join("notify"));
        if let Some(watchdog) = self.service.watchdog {
            command.env("WATCHDOG_USEC", watchdog.as_micros().to_string());
        }
        let heard = self.heard();
        let mut mappings = Vec::new();
        for (child_fd, (_, fd)) in (3..).zip(&heard.store) {
            mappings.push(FdMapping {
                parent_fd: fd.as_fd().try_clone_to_owned()?,
                child_fd,
            });
        }
        if !mappings.is_empty() {
            command.env("LISTEN_FDS", mappings.len().to_string());
            command.env("LISTEN_FDNAMES", heard.stored().join(":"));
        }
        drop(heard);
        command.fd_mappings(mappings).expect("no collision");
        command.spawn()
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        self.shared.stop.store(true, Ordering::SeqCst);
        if let Some(listener) = self.listener.take() {
            let _ = listener.join();
        }
    }
}

fn listen(socket: &UnixDatagram, shared: &Shared) {
    while !shared.stop.load(Ordering::SeqCst) {
        let mut text = [0u8; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(&mut text)];
        let Ok(message) = recvmsg(socket, &mut parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC) else {
            continue;
        };
        let mut fds = Vec::new();
        for received in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = received {
                fds.extend(rights);
            }
        }
        let text = String::from_utf8_lossy(&text[..message.bytes]).into_owned();
        let mut heard = shared.heard.lock().expect("no panic elsewhere");
        note(&mut heard, &text, fds);
        drop(heard);
        shared.changed.notify_all();
    }
}

fn note(heard: &mut Heard, text: &str, fds: Vec<OwnedFd>) {
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key));
    heard.ready += u32::from(value("READY=1").is_some());
    heard.reloading += u32::from(value("RELOADING=1").is_some());
    heard.stopping += u32::from(value("STOPPING=1").is_some());
    heard.watchdog += u32::from(value("WATCHDOG=1").is_some());
    if let Some(status) = value("STATUS=") {
        heard.status = status.to_owned();
    }
    let name = value("FDNAME=").unwrap_or("stored");
    if value("FDSTOREREMOVE=1").is_some() {
        heard.store.retain(|(stored, _)| stored != name);
    }
    if value("FDSTORE=1").is_some() {
        for fd in fds {
            heard.store.push((name.to_owned(), fd));
        }
    }
}
