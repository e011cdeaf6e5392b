//! The only unsafe code of the project: what the safe system crates do not cover.
//!
//! Taking over descriptors whose numbers come from the service manager, turning an
//! owned descriptor into a serial stream, and calls of terminals and serial drivers. Each function is
//! safe to call in any order and from any thread; the reason stands beside each block.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use serialport::TTYPort;
use tokio_serial::SerialStream;

/// Keeps the allocator from holding on to memory: what is big is mapped, and given back when it is freed.
///
/// Glibc raises its threshold with every big block that is freed, so that after the first upload or analysis
/// big buffers come from the heaps of all threads and stay there. Call it before other threads start.
pub fn give_memory_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        const TRIM_THRESHOLD: i32 = -1;
        const MMAP_THRESHOLD: i32 = -3;
        const BYTES: i32 = 128 << 10;
        unsafe extern "C" {
            fn mallopt(parameter: i32, value: i32) -> i32;
        }
        // SAFETY: `mallopt(3)` takes two numbers, touches nothing of ours, and may be called at any time.
        // What it does not know it refuses, which changes nothing.
        unsafe {
            mallopt(MMAP_THRESHOLD, BYTES);
            mallopt(TRIM_THRESHOLD, BYTES);
        }
    }
}

/// Gives the pages between the allocator's blocks back to the system: a millisecond or two for some megabytes.
pub fn give_back_free_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        unsafe extern "C" {
            fn malloc_trim(pad: usize) -> i32;
        }
        // SAFETY: `malloc_trim(3)` takes a number, locks the heaps itself, and touches only what is free.
        unsafe {
            malloc_trim(0);
        }
    }
}

/// Asks for turns of the processor of this length for the calling thread, at its niceness: one that wakes is put before
/// those whose longer turn has begun (Linux 6.12 and newer; older ones take no notice). From 0.1 to 100 ms; zero is the
/// usual length.
///
/// # Errors
/// What the system says; nothing has changed then.
#[cfg(target_os = "linux")]
pub fn ask_for_turns(nice: i32, turn: std::time::Duration) -> io::Result<()> {
    /// `sched_setattr(2)`, as of its first version.
    #[repr(C)]
    struct Attributes {
        size: u32,
        policy: u32,
        flags: u64,
        nice: i32,
        priority: u32,
        runtime_ns: u64,
        deadline_ns: u64,
        period_ns: u64,
    }
    const THIS_THREAD: libc::pid_t = 0;
    const NO_FLAGS: libc::c_uint = 0;
    let attributes = Attributes {
        size: u32::try_from(size_of::<Attributes>()).unwrap_or_default(),
        policy: 0,
        flags: 0,
        nice,
        priority: 0,
        runtime_ns: u64::try_from(turn.as_nanos()).unwrap_or(u64::MAX),
        deadline_ns: 0,
        period_ns: 0,
    };
    // SAFETY: the call reads as many bytes as `size` says, which are those of the struct, and keeps none.
    let done = unsafe {
        libc::syscall(
            libc::SYS_sched_setattr,
            THIS_THREAD,
            std::ptr::from_ref(&attributes),
            NO_FLAGS,
        )
    };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// First descriptor number that a service manager passes (`sd_listen_fds(3)`).
const LISTEN_FDS_START: i32 = 3;

/// More than this is not a descriptor store but a mistake.
const LISTEN_FDS_MAX: usize = 1024;

/// Set once the inherited descriptors have an owner.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// What the service manager left in the environment of this process.
#[derive(Debug, Default)]
pub struct Inherited {
    /// Descriptors with their names, close-on-exec set.
    pub fds: Vec<(String, OwnedFd)>,
}

/// Takes the descriptors announced by `LISTEN_PID`, `LISTEN_FDS` and `LISTEN_FDNAMES`.
///
/// Gives them once; later calls give nothing. Call it first thing in `main`: then the variables
/// are also removed, so that no child takes them for its own (`LISTEN_PID` guards against that too,
/// which is why they simply stay when other threads are running already).
pub fn take_listen_fds() -> Inherited {
    let announced_for_us = std::env::var("LISTEN_PID")
        .ok()
        .and_then(|pid| pid.parse::<u32>().ok())
        .is_some_and(|pid| pid == std::process::id());
    let count = std::env::var("LISTEN_FDS")
        .ok()
        .and_then(|n| n.parse::<usize>().ok())
        .unwrap_or(0)
        .min(LISTEN_FDS_MAX);
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    if !announced_for_us || TAKEN.swap(true, Ordering::SeqCst) {
        return Inherited::default();
    }
    remove_if_alone(&["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"]);

    let mut names = names.split(':');
    let mut fds = Vec::new();
    for number in (LISTEN_FDS_START..).take(count) {
        let name = names.next().unwrap_or("unknown").to_owned();
        // SAFETY: the borrow lasts for this check only; an unopened number is answered by EBADF.
        let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
        if rustix::io::fcntl_setfd(borrowed, rustix::io::FdFlags::CLOEXEC).is_err() {
            continue;
        }
        // SAFETY: the service manager opened this number for us before exec and announced it to
        // this process id; TAKEN makes sure that it gets exactly one owner.
        fds.push((name, unsafe { OwnedFd::from_raw_fd(number) }));
    }
    Inherited { fds }
}

/// Removes environment variables when this is the only thread.
fn remove_if_alone(names: &[&str]) {
    let alone = std::fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() == 1);
    if alone {
        for name in names {
            // SAFETY: there is no other thread that could read the environment meanwhile.
            unsafe { std::env::remove_var(name) };
        }
    }
}

/// Makes a serial stream of an open terminal, without touching its settings or modem lines.
///
/// Takes the exclusive lock and `TIOCEXCL` again where that is possible; must be called within a
/// tokio runtime.
pub fn serial_stream(fd: OwnedFd) -> io::Result<SerialStream> {
    // SAFETY: ownership of an open descriptor is passed on, nobody else closes it.
    let port = unsafe { TTYPort::from_raw_fd(fd.into_raw_fd()) };
    SerialStream::try_from(port).map_err(io::Error::from)
}

/// `struct serial_struct` of `linux/serial.h`.
#[cfg(target_os = "linux")]
#[repr(C)]
#[derive(Debug)]
struct SerialStruct {
    kind: i32,
    line: i32,
    port: u32,
    irq: i32,
    flags: i32,
    xmit_fifo_size: i32,
    custom_divisor: i32,
    baud_base: i32,
    close_delay: u16,
    io_type: u8,
    reserved_char: u8,
    hub6: i32,
    closing_wait: u16,
    closing_wait2: u16,
    iomem_base: usize,
    iomem_reg_shift: u16,
    port_high: u32,
    iomap_base: usize,
}

/// Raises or drops the DTR line. Terminals without one (pseudo-terminals) answer with an error.
#[cfg(all(
    target_os = "linux",
    any(
        target_arch = "x86_64",
        target_arch = "x86",
        target_arch = "aarch64",
        target_arch = "arm",
        target_arch = "riscv64"
    )
))]
pub fn set_dtr(fd: impl AsFd, high: bool) -> io::Result<()> {
    use rustix::ioctl::{Setter, ioctl};
    const TIOCMBIS: rustix::ioctl::Opcode = 0x5416;
    const TIOCMBIC: rustix::ioctl::Opcode = 0x5417;
    const TIOCM_DTR: i32 = 2;

    // SAFETY: both calls read one C int through the pointer and write nothing.
    unsafe {
        if high {
            ioctl(fd.as_fd(), Setter::<TIOCMBIS, i32>::new(TIOCM_DTR))
        } else {
            ioctl(fd.as_fd(), Setter::<TIOCMBIC, i32>::new(TIOCM_DTR))
        }
    }?;
    Ok(())
}

/// Not known here.
#[cfg(not(all(
    target_os = "linux",
    any(
        target_arch = "x86_64",
        target_arch = "x86",
        target_arch = "aarch64",
        target_arch = "arm",
        target_arch = "riscv64"
    )
)))]
pub fn set_dtr(_fd: impl AsFd, _high: bool) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Asks the serial driver to hand over received bytes at once (`ASYNC_LOW_LATENCY`).
///
/// FTDI adapters otherwise hold short answers back for 16 ms. Drivers without the flag, and
/// pseudo-terminals, answer with an error, which callers ignore.
#[cfg(all(
    target_os = "linux",
    any(
        target_arch = "x86_64",
        target_arch = "x86",
        target_arch = "aarch64",
        target_arch = "arm",
        target_arch = "riscv64"
    )
))]
pub fn set_low_latency(fd: impl AsFd) -> io::Result<()> {
    use rustix::ioctl::{Updater, ioctl};
    const TIOCGSERIAL: rustix::ioctl::Opcode = 0x541E;
    const TIOCSSERIAL: rustix::ioctl::Opcode = 0x541F;
    const ASYNC_LOW_LATENCY: i32 = 1 << 13;

    let mut settings = SerialStruct {
        kind: 0,
        line: 0,
        port: 0,
        irq: 0,
        flags: 0,
        xmit_fifo_size: 0,
        custom_divisor: 0,
        baud_base: 0,
        close_delay: 0,
        io_type: 0,
        reserved_char: 0,
        hub6: 0,
        closing_wait: 0,
        closing_wait2: 0,
        iomem_base: 0,
        iomem_reg_shift: 0,
        port_high: 0,
        iomap_base: 0,
    };
    // SAFETY: the structure has the layout of linux/serial.h and the kernel writes no more than it.
    unsafe {
        ioctl(
            fd.as_fd(),
            Updater::<TIOCGSERIAL, SerialStruct>::new(&mut settings),
        )
    }?;
    settings.flags |= ASYNC_LOW_LATENCY;
    // SAFETY: as above; the kernel only reads it.
    unsafe {
        ioctl(
            fd.as_fd(),
            Updater::<TIOCSSERIAL, SerialStruct>::new(&mut settings),
        )
    }?;
    Ok(())
}

/// There is no such flag here.
#[cfg(not(all(
    target_os = "linux",
    any(
        target_arch = "x86_64",
        target_arch = "x86",
        target_arch = "aarch64",
        target_arch = "arm",
        target_arch = "riscv64"
    )
)))]
pub fn set_low_latency(_fd: impl AsFd) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// The descriptor of a serial stream, for settings and for keeping a copy of it.
pub fn serial_fd(stream: &SerialStream) -> BorrowedFd<'_> {
    // SAFETY: the stream keeps its descriptor open at least as long as it is borrowed itself.
    unsafe { BorrowedFd::borrow_raw(stream.as_raw_fd()) }
}

/// `struct termios` of the kernel, the old form.
#[cfg(target_os = "linux")]
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct OldTermios {
    input: u32,
    output: u32,
    control: u32,
    local: u32,
    line: u8,
    codes: [u8; 19],
}

/// Makes a terminal raw (8N1, no flow control, no hang-up on close) by the calls of old, which know the
/// usual speeds only: for emulators that lack the newer ones (`TCGETS2`), where packages are tried.
#[cfg(all(
    target_os = "linux",
    any(
        target_arch = "x86_64",
        target_arch = "x86",
        target_arch = "aarch64",
        target_arch = "arm",
        target_arch = "riscv64"
    )
))]
pub fn make_raw_the_old_way(fd: impl AsFd, baud: Option<u32>) -> rustix::io::Result<()> {
    use rustix::ioctl::{Getter, Setter, ioctl};
    const TCGETS: rustix::ioctl::Opcode = 0x5401;
    const TCSETS: rustix::ioctl::Opcode = 0x5402;
    // Of asm-generic/termbits.h: ISTRIP and what translates or breaks input; OPOST; CS8, CREAD, CLOCAL.
    const INPUT: u32 = 0o1 | 0o2 | 0o10 | 0o40 | 0o100 | 0o200 | 0o400 | 0o2000 | 0o10000;
    const CBAUD: u32 = 0o10017;
    const CONTROL: u32 = 0o60 | 0o200 | 0o4000;
    // CSIZE, CSTOPB, PARENB, HUPCL, CRTSCTS.
    const CONTROL_OFF: u32 = 0o60 | 0o100 | 0o400 | 0o2000 | 0o20_000_000_000;
    // ISIG, ICANON, ECHO, ECHONL, IEXTEN.
    const LOCAL: u32 = 0o1 | 0o2 | 0o10 | 0o100 | 0o100_000;
    const VTIME: usize = 5;
    const VMIN: usize = 6;

    // SAFETY: the structure has the layout of the kernel's, which writes no more than it.
    let mut settings = unsafe { ioctl(fd.as_fd(), Getter::<TCGETS, OldTermios>::new()) }?;
    settings.input &= !INPUT;
    settings.output &= !1;
    settings.local &= !LOCAL;
    settings.control = settings.control & !CONTROL_OFF | CONTROL;
    for (index, value) in [(VTIME, 0), (VMIN, 1)] {
        if let Some(code) = settings.codes.get_mut(index) {
            *code = value;
        }
    }
    let speed = match baud {
        None => None,
        Some(9600) => Some(0o15),
        Some(19_200) => Some(0o16),
        Some(38_400) => Some(0o17),
        Some(57_600) => Some(0o10001),
        Some(115_200) => Some(0o10002),
        Some(230_400) => Some(0o10003),
        Some(500_000) => Some(0o10005),
        Some(1_000_000) => Some(0o10010),
        Some(_) => return Err(rustix::io::Errno::INVAL),
    };
    if let Some(speed) = speed {
        settings.control = settings.control & !CBAUD | speed;
    }
    // SAFETY: as above; the kernel only reads it.
    unsafe { ioctl(fd.as_fd(), Setter::<TCSETS, OldTermios>::new(settings)) }
}

/// Not known here.
#[cfg(not(all(
    target_os = "linux",
    any(
        target_arch = "x86_64",
        target_arch = "x86",
        target_arch = "aarch64",
        target_arch = "arm",
        target_arch = "riscv64"
    )
)))]
pub fn make_raw_the_old_way(_fd: impl AsFd, _baud: Option<u32>) -> rustix::io::Result<()> {
    Err(rustix::io::Errno::NOSYS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::termios::{ControlModes, LocalModes, OutputModes, SpecialCodeIndex, tcgetattr};

    /// Niceness stays what it was; one that there is not becomes the nearest.
    #[test]
    fn the_length_of_turns_changes_nothing_else() {
        use std::time::Duration;
        let nice = || rustix::process::getpriority_process(Some(rustix::thread::gettid())).expect("niceness");
        std::thread::spawn(move || {
            let before = nice();
            for turn in [Duration::from_micros(100), Duration::ZERO] {
                ask_for_turns(before, turn).expect("turns of another length");
                assert_eq!(nice(), before);
            }
            assert!(ask_for_turns(1000, Duration::ZERO).is_ok_and(|()| nice() == 19));
        })
        .join()
        .expect("no panic");
    }

    /// The two ways lead to the same settings.
    #[test]
    fn the_old_way_to_a_raw_terminal_says_the_same_as_the_new_one() {
        use rustix::pty::{OpenptFlags, openpt, ptsname, unlockpt};
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pty");
        unlockpt(&master).expect("unlocked");
        let name = ptsname(&master, Vec::new()).expect("a name");
        let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY;
        let fd = rustix::fs::open(&*name, flags, rustix::fs::Mode::empty()).expect("opened");
        let mut wanted = tcgetattr(&fd).expect("settings");
        wanted.make_raw();
        make_raw_the_old_way(&fd, Some(115_200)).expect("set");
        let got = tcgetattr(&fd).expect("settings");
        assert_eq!(got.output_speed(), 115_200);
        assert_eq!(got.local_modes, wanted.local_modes);
        assert_eq!(got.input_modes, wanted.input_modes);
        assert!(!got.output_modes.contains(OutputModes::OPOST));
        assert!(!got.local_modes.contains(LocalModes::ECHO));
        assert!(
            got.control_modes
                .contains(ControlModes::CS8 | ControlModes::CLOCAL)
        );
        assert!(
            !got.control_modes
                .intersects(ControlModes::HUPCL | ControlModes::CRTSCTS)
        );
        assert_eq!(got.special_codes[SpecialCodeIndex::VMIN], 1);
        assert!(make_raw_the_old_way(&fd, Some(12_345)).is_err());
    }
}
