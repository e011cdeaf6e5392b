//! What the host tells: versions, memory, disks, open files, serial ports, the log.

use std::fmt::Write;
use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::AsyncReadExt;
use tokio::process::Command;

use super::archive::Archive;
use crate::api::socket::SOCKET_NAME;
use crate::host::serial::{self, Permission, Roots};
use crate::json::json;

/// How long a program may take.
const PROGRAM_LIMIT: Duration = Duration::from_secs(20);

/// Most bytes of a program's output and of a log.
const OUTPUT_MAX: u64 = 16 << 20;

/// Most bytes of a file of the system.
const SYSTEM_FILE_MAX: u64 = 64 << 10;

/// Most files that are listed of a directory.
const LISTED_MAX: usize = 300;

/// Versions.
pub fn versions() -> Value {
    let name = rustix::system::uname();
    let text = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
    json!({
        "layerd": env!("CARGO_PKG_VERSION"),
        "built_for": format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
        "program": std::env::current_exe().ok().map(|p| p.display().to_string()),
        "kernel": format!("{} {} {}", text(name.sysname()), text(name.release()), text(name.machine())),
        "distribution": distribution(&system_file("/etc/os-release")),
        "board": crate::host::sysfs::Roots::default().board(),
        "user": rustix::process::geteuid().as_raw(),
        "time": jiff::Zoned::now().to_string(),
        "up_s": system_file("/proc/uptime").split('.').next().and_then(|s| s.parse::<u64>().ok()),
    })
}

fn distribution(release: &str) -> Option<String> {
    let name = release.lines().find_map(|l| l.strip_prefix("PRETTY_NAME="))?;
    Some(name.trim_matches('"').to_owned())
}

/// Memory, disks, limits, and what the directories look like.
pub fn facts(places: &[(&str, &Path)]) -> String {
    let mut out = String::new();
    let memory = system_file("/proc/meminfo");
    let wanted = ["MemTotal", "MemAvailable", "SwapTotal", "SwapFree", "Dirty"];
    for line in memory.lines().filter(|l| wanted.iter().any(|w| l.starts_with(w))) {
        let _ = writeln!(out, "{line}");
    }
    let _ = writeln!(out, "load: {}", system_file("/proc/loadavg").trim());
    let _ = writeln!(
        out,
        "file handles (used, free, most): {}",
        system_file("/proc/sys/fs/file-nr").trim()
    );
    for (what, path) in places {
        let _ = writeln!(out, "\n{what}: {}", path.display());
        match rustix::fs::statvfs(*path) {
            Ok(disk) => {
                let mib = |blocks: u64| blocks.saturating_mul(disk.f_frsize) >> 20;
                let read_only = disk.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY);
                let _ = writeln!(
                    out,
                    "disk: {} MiB of {} MiB free, {} of {} files free{}",
                    mib(disk.f_bavail),
                    mib(disk.f_blocks),
                    disk.f_ffree,
                    disk.f_files,
                    if read_only { ", READ-ONLY" } else { "" }
                );
            }
            Err(error) => {
                let _ = writeln!(out, "disk: {error}");
            }
        }
        list(path, 0, &mut 0, &mut out);
    }
    let socket = places.last().map(|(_, dir)| dir.join(SOCKET_NAME));
    daemon(socket.as_deref(), &mut out);
    out
}

/// Modes, owners and sizes: a file of another's is the commonest fault of an installation.
fn list(path: &Path, depth: usize, listed: &mut usize, out: &mut String) {
    *listed += 1;
    if *listed > LISTED_MAX {
        return;
    }
    let meta = match fs::symlink_metadata(path) {
        Ok(meta) => meta,
        Err(error) => {
            let _ = writeln!(out, "  {}: {error}", path.display());
            return;
        }
    };
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
    let _ = writeln!(
        out,
        "  {:06o} {:>5} {:>5} {:>11} {}{name}",
        meta.mode(),
        meta.uid(),
        meta.gid(),
        meta.len(),
        "  ".repeat(depth)
    );
    if !meta.is_dir() || depth >= 2 {
        return;
    }
    match fs::read_dir(path) {
        Ok(entries) => {
            let mut paths: Vec<_> = entries.flatten().take(LISTED_MAX).map(|e| e.path()).collect();
            paths.sort();
            paths.iter().for_each(|path| list(path, depth + 1, listed, out));
        }
        Err(error) => {
            let _ = writeln!(out, "  {}: {error}", path.display());
        }
    }
}

/// The process behind the socket.
fn daemon(socket: Option<&Path>, out: &mut String) {
    let peer = socket
        .and_then(|path| std::os::unix::net::UnixStream::connect(path).ok())
        .and_then(|stream| rustix::net::sockopt::socket_peercred(&stream).ok());
    let Some(peer) = peer else {
        let _ = writeln!(out, "\nthe daemon: nobody answers on its socket");
        return;
    };
    let pid = peer.pid.as_raw_nonzero();
    let _ = writeln!(out, "\nthe daemon: process {pid}, user {}", peer.uid.as_raw());
    let wanted = ["VmRSS", "RssAnon", "VmSwap", "Threads", "voluntary_ctxt", "State"];
    for line in system_file(&format!("/proc/{pid}/status")).lines() {
        if wanted.iter().any(|w| line.starts_with(w)) {
            let _ = writeln!(out, "  {line}");
        }
    }
    threads(pid.get(), out);
    match fs::read_dir(format!("/proc/{pid}/fd")) {
        Ok(entries) => {
            let _ = writeln!(out, "  open files: {}", entries.count());
        }
        Err(error) => {
            let _ = writeln!(out, "  open files: {error}");
        }
    }
    for line in system_file(&format!("/proc/{pid}/limits")).lines() {
        if ["Max open files", "Max processes", "Max nice"]
            .iter()
            .any(|w| line.starts_with(w))
        {
            let _ = writeln!(out, "  {line}");
        }
    }
}

/// What each thread is at: one that stands still in the kernel, or one that never rests, shows here.
fn threads(pid: i32, out: &mut String) {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return;
    };
    for entry in entries.flatten().take(LISTED_MAX) {
        let about = |file: &str| system_file(&entry.path().join(file).to_string_lossy());
        // The name may hold anything but its last bracket.
        let stat = about("stat");
        let Some((_, fields)) = stat.rsplit_once(") ") else {
            continue;
        };
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let field = |n: usize| fields.get(n).copied().unwrap_or("?");
        let (name, waits) = (about("comm"), about("wchan"));
        let _ = writeln!(
            out,
            "  thread {}: {}, ticks of its own {} and of the kernel {}, priority {}, waits in {waits}",
            name.trim(),
            field(0),
            field(11),
            field(12),
            field(15)
        );
    }
}

/// Serial ports.
pub fn serial() -> String {
    let roots = Roots::default();
    let mut out = String::new();
    for port in serial::list(&roots) {
        let _ = writeln!(out, "{}: {}", port.node.display(), port.label());
        for path in port.by_id.iter().chain(&port.by_path) {
            let _ = writeln!(out, "  {}", path.display());
        }
        let may = match &port.permission {
            Permission::Granted => "may be opened by this user".to_owned(),
            Permission::Denied { group: Some(group) } => {
                format!("may not be opened by this user; group {group}")
            }
            Permission::Denied { group: None } => "may not be opened by this user".to_owned(),
        };
        let _ = writeln!(out, "  {may}");
        if let Ok(meta) = fs::metadata(&port.node) {
            let kind = if meta.file_type().is_char_device() {
                ""
            } else {
                ", NO character device"
            };
            let _ = writeln!(
                out,
                "  mode {:o}, user {}, group {}{kind}",
                meta.mode() & 0o7777,
                meta.uid(),
                meta.gid()
            );
        }
        if let Some(holder) = &port.holder {
            let _ = writeln!(out, "  in use by {holder}");
        }
    }
    if out.is_empty() {
        out.push_str("No serial port was found.\n");
    }
    out
}

/// The service's log of the last day, what the kernel said of USB and power, and a log that was named.
pub async fn logs(named: Option<&Path>, blind: &[String], archive: &mut Archive) {
    let unit = [
        "show",
        "layerd",
        "--no-pager",
        "-p",
        "LoadState,ActiveState,SubState,StatusText,Result,NRestarts,ExecMainStartTimestamp,ExecMainExitTimestamp,\
         ExecMainCode,ExecMainStatus,MainPID,NFileDescriptorStore,WatchdogUSec,WatchdogTimestamp,MemoryCurrent,\
         MemoryHigh,MemoryMax,FragmentPath,DropInPaths,User,Group,SupplementaryGroups,UnitFileState",
    ];
    archive.add(
        "unit.txt",
        "the service as systemd sees it",
        output("systemctl", &unit).await,
    );
    if !blind.is_empty() {
        return;
    }
    let units = ["layerd", "layerd-cool", "layerd-import", "layerd-retry"].map(|unit| ["-u", unit]);
    let mut text = day("50000", units.as_flattened()).await;
    if text.trim().is_empty() {
        text =
            "Nothing: the service said nothing for a day, or this user may not read it (sudo).\n".to_owned();
    }
    archive.add("journal.txt", "the service's log of the last day", text);
    let said = day("20000", &["-k"]).await;
    let wanted = [
        "usb",
        "tty",
        "voltage",
        "over-current",
        "oom",
        "mmc",
        "ext4",
        "layerd",
        "journalctl",
    ];
    let about = |line: &&str| wanted.iter().any(|word| line.to_ascii_lowercase().contains(word));
    let text: String = said.lines().filter(about).flat_map(|line| [line, "\n"]).collect();
    archive.add(
        "kernel.txt",
        "what the kernel said of USB, power, memory and the card",
        text,
    );
    if let Some(path) = named {
        let text = tail(path).unwrap_or_else(|e| format!("{}: {e}\n", path.display()));
        archive.add("log.txt", "the log that was named", text);
    }
}

/// The last lines of the journal's last day.
async fn day(lines: &str, which: &[&str]) -> String {
    let all = [
        "--no-pager",
        "-q",
        "-o",
        "short-precise",
        "--since",
        "-24h",
        "-n",
        lines,
    ];
    output("journalctl", &[&all, which].concat()).await
}

async fn output(program: &str, args: &[&str]) -> String {
    let ran = async {
        let mut child = Command::new(program)
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let mut all = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            stdout.take(OUTPUT_MAX).read_to_end(&mut all).await?;
        }
        if let Some(stderr) = child.stderr.take() {
            stderr.take(SYSTEM_FILE_MAX).read_to_end(&mut all).await?;
        }
        std::io::Result::Ok(all)
    };
    match tokio::time::timeout(PROGRAM_LIMIT, ran).await {
        Ok(Ok(all)) => String::from_utf8_lossy(&all).into_owned(),
        Ok(Err(error)) => format!("{program} cannot be run here: {error}\n"),
        Err(_) => format!("{program} took more than {} s\n", PROGRAM_LIMIT.as_secs()),
    }
}

/// The end of a file, from the beginning of a line.
fn tail(path: &Path) -> std::io::Result<String> {
    let mut file = fs::File::open(path)?;
    let skip = file.metadata()?.len().saturating_sub(OUTPUT_MAX);
    file.seek(SeekFrom::Start(skip))?;
    let mut bytes = Vec::new();
    file.take(OUTPUT_MAX).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    Ok(match text.split_once('\n') {
        Some((_, whole)) if skip > 0 => whole.to_owned(),
        _ => text,
    })
}

fn system_file(path: &str) -> String {
    let mut bytes = Vec::new();
    let read = fs::File::open(path).and_then(|f| f.take(SYSTEM_FILE_MAX).read_to_end(&mut bytes));
    match read {
        Ok(_) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(_) => String::new(),
    }
}
