//! The simulated printer on a real pseudo-terminal.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::{Mode, OFlags, fcntl_setfl};
use rustix::io::Errno;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

use super::{Injection, Options, Sim};

/// How often an unopened port is looked at, where opening has to be noticed.
const LOOK_FOR_OPENING: Duration = Duration::from_millis(20);
/// Bytes on the emulated wire, each way. When full towards the printer, reading waits; towards the
/// host, what is too much is lost, as on a board whose port nobody reads.
const WIRE_MAX: usize = 64 * 1024;

/// How to run it.
#[derive(Clone, Debug, Default)]
pub struct PtyOptions {
    /// The printer.
    pub sim: Options,
    /// A symbolic link to keep pointing at the terminal.
    pub link: Option<PathBuf>,
    /// Pass bytes no faster than this; `None`: at once.
    pub baud: Option<u32>,
    /// Understand only this speed: with the port set to another, both sides hear garbage.
    pub only_baud: Option<u32>,
    /// A file to which every command goes that is executed; [`Sim::executed`] then stays empty.
    pub executed: Option<PathBuf>,
}

/// A running simulated printer; ends when dropped.
#[derive(Debug)]
pub struct SimPty {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    link: Option<PathBuf>,
}

#[derive(Debug)]
struct Shared {
    inner: Mutex<Inner>,
    changed: Condvar,
    started: Instant,
    wake: OwnedFd,
    stop: AtomicBool,
}

#[derive(Debug)]
struct Inner {
    sim: Sim,
    plug: Option<Plug>,
    to_printer: Wire,
    to_host: Wire,
    reset_on_open: bool,
    only_baud: Option<u32>,
}

/// Both ends of the terminal.
#[derive(Debug)]
struct Plug {
    master: Arc<OwnedFd>,
    /// Held so that closing the port is no hang-up; not where opening has to be noticed.
    _slave: Option<OwnedFd>,
    path: PathBuf,
    opened: bool,
}

impl SimPty {
    /// Opens a terminal and starts the printer on it, on a thread of its own.
    pub fn spawn(options: PtyOptions) -> io::Result<SimPty> {
        let PtyOptions {
            sim,
            link,
            baud,
            only_baud,
            executed,
        } = options;
        let record = executed.map(fs::File::create).transpose()?;
        let reset_on_open = sim.reset_on_open;
        let shared = Arc::new(Shared {
            inner: Mutex::new(Inner {
                sim: Sim::new(sim),
                plug: Some(Plug::new(reset_on_open)?),
                to_printer: Wire::new(baud),
                to_host: Wire::new(baud),
                reset_on_open,
                only_baud,
            }),
            changed: Condvar::new(),
            started: Instant::now(),
            wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            stop: AtomicBool::new(false),
        });
        let mut pty = SimPty {
            shared: shared.clone(),
            thread: None,
            link,
        };
        pty.point_link()?;
        pty.thread = Some(
            std::thread::Builder::new()
                .name("sim-marlin".to_owned())
                .spawn(move || run(&shared, record))?,
        );
        Ok(pty)
    }

    /// What to open: the link if there is one, else the terminal.
    pub fn path(&self) -> PathBuf {
        match (&self.link, &self.shared.lock().plug) {
            (Some(link), _) => link.clone(),
            (None, Some(plug)) => plug.path.clone(),
            (None, None) => PathBuf::new(),
        }
    }

    /// Looks at the printer, or changes it.
    pub fn with<R>(&self, f: impl FnOnce(&mut Sim) -> R) -> R {
        let now = self.shared.started.elapsed();
        let mut inner = self.shared.lock();
        inner.sim.advance(now);
        let result = f(&mut inner.sim);
        drop(inner);
        self.shared.wake();
        result
    }

    /// Something happens to the printer.
    pub fn inject(&self, injection: Injection) {
        let now = self.shared.started.elapsed();
        self.with(|sim| sim.inject(now, injection));
    }

    /// Waits until the printer is as wanted; `false` when that did not happen in time.
    pub fn wait_until(&self, timeout: Duration, mut wanted: impl FnMut(&Sim) -> bool) -> bool {
        let inner = self.shared.lock();
        let waited = self
            .shared
            .changed
            .wait_timeout_while(inner, timeout, |inner| !wanted(&inner.sim));
        match waited {
            Ok((_, result)) => !result.timed_out(),
            Err(_) => false,
        }
    }

    /// Waits until nobody has the port open, on a printer that notices.
    pub fn wait_closed(&self, timeout: Duration) -> bool {
        let inner = self.shared.lock();
        let waited = self.shared.changed.wait_timeout_while(inner, timeout, |inner| {
            inner.plug.as_ref().is_some_and(|plug| plug.opened)
        });
        waited.is_ok_and(|(_, result)| !result.timed_out())
    }

    /// Pulls the cable: the port vanishes, the printer goes on.
    pub fn unplug(&self) {
        let mut inner = self.shared.lock();
        inner.plug = None;
        inner.to_printer.bytes.clear();
        inner.to_host.bytes.clear();
        drop(inner);
        if let Some(link) = &self.link {
            let _ = fs::remove_file(link);
        }
        self.shared.wake();
    }

    /// Plugs it in again, with another terminal behind the link; `reset`: the board restarts.
    pub fn replug(&self, reset: bool) -> io::Result<()> {
        let mut inner = self.shared.lock();
        inner.plug = Some(Plug::new(inner.reset_on_open)?);
        if reset {
            inner.sim.inject(self.shared.started.elapsed(), Injection::Reset);
        }
        drop(inner);
        self.shared.wake();
        self.point_link()
    }

    fn point_link(&self) -> io::Result<()> {
        let (Some(link), Some(plug)) = (&self.link, &self.shared.lock().plug) else {
            return Ok(());
        };
        if let Some(dir) = link.parent() {
            fs::create_dir_all(dir)?;
        }
        let fresh = link.with_extension("new");
        let _ = fs::remove_file(&fresh);
        std::os::unix::fs::symlink(&plug.path, &fresh)?;
        fs::rename(fresh, link)
    }
}

impl Drop for SimPty {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.shared.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        if let Some(link) = &self.link {
            let _ = fs::remove_file(link);
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn wake(&self) {
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }
}

impl Plug {
    fn new(reset_on_open: bool) -> io::Result<Self> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
        rustix::io::fcntl_setfd(&master, rustix::io::FdFlags::CLOEXEC)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        fcntl_setfl(&master, OFlags::NONBLOCK)?;
        let name = ptsname(&master, Vec::new())?;
        let path = PathBuf::from(name.to_string_lossy().into_owned());
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let slave = rustix::fs::open(&path, flags, Mode::empty())?;
        // A terminal echoes by default, which would talk to the printer in its own voice.
        match tcgetattr(&slave) {
            Err(Errno::NOSYS) => crate::sys::make_raw_the_old_way(&slave, None)?,
            settings => {
                let mut settings = settings?;
                settings.make_raw();
                tcsetattr(&slave, OptionalActions::Now, &settings)?;
            }
        }
        Ok(Plug {
            master: Arc::new(master),
            _slave: (!reset_on_open).then_some(slave),
            path,
            opened: false,
        })
    }
}

/// One direction of the cable, with the time each byte takes.
#[derive(Debug)]
struct Wire {
    byte_time: Duration,
    free_at: Duration,
    bytes: VecDeque<(Duration, u8)>,
}

impl Wire {
    fn new(baud: Option<u32>) -> Self {
        Wire {
            // Ten bits a byte: start, eight, stop.
            byte_time: baud.map_or(Duration::ZERO, |baud| Duration::from_secs(10) / baud.max(1)),
            free_at: Duration::ZERO,
            bytes: VecDeque::new(),
        }
    }

    fn push(&mut self, now: Duration, bytes: &[u8]) {
        for &byte in bytes.iter().take(WIRE_MAX.saturating_sub(self.bytes.len())) {
            self.free_at = self.free_at.max(now) + self.byte_time;
            self.bytes.push_back((self.free_at, byte));
        }
    }

    /// Bytes that have arrived, not yet removed.
    fn arrived(&self, now: Duration) -> Vec<u8> {
        let due = self.bytes.iter().take_while(|(at, _)| *at <= now);
        due.map(|(_, byte)| *byte).collect()
    }

    fn deadline(&self) -> Option<Duration> {
        self.bytes.front().map(|(at, _)| *at)
    }
}

/// What a receiver at the wrong speed makes of bytes: others, and fewer.
fn garble(bytes: &mut Vec<u8>) {
    let mut count = 0u8;
    bytes.retain_mut(|byte| {
        count = count.wrapping_add(1);
        *byte = byte.rotate_left(3) | 0x81;
        !count.is_multiple_of(3)
    });
}

fn run(shared: &Shared, mut record: Option<fs::File>) {
    let mut buffer = [0u8; 4096];
    while !shared.stop.load(Ordering::SeqCst) {
        let mut inner = shared.lock();
        let now = shared.started.elapsed();
        let (master, wants) = inner.pass(now);
        let deadline = inner.deadline(now);
        let done = record.as_ref().map(|_| inner.sim.take_executed());
        drop(inner);
        shared.changed.notify_all();
        if let (Some(file), Some(done)) = (&mut record, done.filter(|done| !done.is_empty())) {
            let lines: String = done.iter().map(|one| format!("{}\n", one.text.trim())).collect();
            // The record is for tests; a printer does not stop for a full disk.
            let _ = file.write_all(lines.as_bytes());
        }

        let ready = wait(
            &shared.wake,
            master.as_deref(),
            wants,
            deadline.map(|at| at.saturating_sub(now)),
        );
        let Some(master) = master else {
            continue;
        };
        let mut inner = shared.lock();
        let now = shared.started.elapsed();
        inner.notice_opening(now, ready);
        if ready.contains(PollFlags::IN)
            && let Ok(count) = rustix::io::read(&*master, &mut buffer)
        {
            let got = buffer.get(..count).unwrap_or_default();
            inner.to_printer.push(now, got);
        }
    }
}

/// Sleeps until there is something to do; the answer is the state of the terminal.
fn wait(wake: &OwnedFd, master: Option<&OwnedFd>, wants: PollFlags, time: Option<Duration>) -> PollFlags {
    // Half a nanosecond too early would be one turn too many.
    let time = time.map(|t| t + Duration::from_micros(1));
    let timeout = time.and_then(|t| Timespec::try_from(t).ok());
    let mut fds = vec![PollFd::from_borrowed_fd(wake.as_fd(), PollFlags::IN)];
    // A terminal that nobody has open answers every poll at once, so it is then looked at by the clock.
    if let Some(master) = master.filter(|_| !wants.is_empty()) {
        fds.push(PollFd::from_borrowed_fd(master.as_fd(), wants));
    }
    match poll(&mut fds, timeout.as_ref()) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(_) => std::thread::park_timeout(LOOK_FOR_OPENING),
    }
    let _ = rustix::io::read(wake, &mut [0u8; 8]);
    match (fds.get(1), master) {
        (Some(fd), _) => fd.revents(),
        (None, Some(master)) => {
            let mut fds = [PollFd::from_borrowed_fd(master.as_fd(), PollFlags::IN)];
            let _ = poll(&mut fds, Some(&Timespec::default()));
            fds.first().map_or(PollFlags::empty(), PollFd::revents)
        }
        (None, None) => PollFlags::empty(),
    }
}

impl Inner {
    /// Lets everything happen that is due; answers what the terminal has to be watched for.
    fn pass(&mut self, now: Duration) -> (Option<Arc<OwnedFd>>, PollFlags) {
        let mut arrived = self.to_printer.arrived(now);
        self.to_printer.bytes.drain(..arrived.len());
        let garbled = self.is_garbled();
        if garbled {
            garble(&mut arrived);
        }
        self.sim.feed(now, &arrived);
        let mut said = self.sim.take_output();
        if garbled {
            garble(&mut said);
        }
        let Some(plug) = &self.plug else {
            return (None, PollFlags::empty());
        };
        if !self.reset_on_open || plug.opened {
            self.to_host.push(now, &said);
        }
        let due = self.to_host.arrived(now);
        let mut blocked = false;
        if !due.is_empty() {
            match rustix::io::write(&*plug.master, &due) {
                Ok(written) => {
                    self.to_host.bytes.drain(..written);
                    blocked = written < due.len();
                }
                Err(_) => blocked = true,
            }
        }
        if self.reset_on_open && !plug.opened {
            return (Some(plug.master.clone()), PollFlags::empty());
        }
        let mut wants = PollFlags::empty();
        if self.to_printer.bytes.len() < WIRE_MAX / 2 {
            wants |= PollFlags::IN;
        }
        if blocked {
            wants |= PollFlags::OUT;
        }
        (Some(plug.master.clone()), wants)
    }

    /// Whether the port is set to a speed that the printer does not speak.
    fn is_garbled(&self) -> bool {
        let (Some(only), Some(plug)) = (self.only_baud, &self.plug) else {
            return false;
        };
        // The master end shows the settings of the other end.
        tcgetattr(&*plug.master).is_ok_and(|settings| settings.output_speed() != only)
    }

    fn deadline(&self, now: Duration) -> Option<Duration> {
        let look = self
            .plug
            .as_ref()
            .filter(|plug| self.reset_on_open && !plug.opened);
        super::earliest([
            self.sim.deadline(),
            self.to_printer.deadline(),
            // Bytes that are due already wait for room in the terminal, not for the clock.
            self.to_host.deadline().filter(|at| *at > now),
            look.map(|_| now + LOOK_FOR_OPENING),
        ])
    }

    /// Opening raises DTR, which resets a board with the auto-reset capacitor.
    fn notice_opening(&mut self, now: Duration, ready: PollFlags) {
        if !self.reset_on_open {
            return;
        }
        let Some(plug) = &mut self.plug else {
            return;
        };
        let open = !ready.contains(PollFlags::HUP);
        if open && !plug.opened {
            plug.opened = true;
            self.to_printer.bytes.clear();
            self.to_host.bytes.clear();
            self.sim.inject(now, Injection::Reset);
        } else if !open {
            plug.opened = false;
        }
    }
}
