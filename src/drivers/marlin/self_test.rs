//! What `layerd self-test` tries without hardware: a serial port as such, and what ports there are.

use std::io;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::port;
use super::sim::Options;
use super::sim::pty::{PtyOptions, SimPty};
use crate::host::serial::{Permission, Roots, list};
use crate::printer::fault::{Fault, Severity};

/// How long the simulated printer may take for one answer.
const LIMIT: Duration = Duration::from_secs(5);
/// More than this without an `ok` is not our simulator.
const ANSWER_MAX: usize = 16 * 1024;

const NO_PTY: Fault = Fault::new(
    Severity::NeedsUser,
    "self-test/no-terminal",
    "No pseudo-terminal could be opened.",
    "The system or the container offers no /dev/ptmx.",
    "Run where /dev/pts is mounted. Printers on real ports are not affected.",
);

const NO_ANSWER: Fault = Fault::new(
    Severity::Bug,
    "self-test/no-answer",
    "The simulated printer did not answer.",
    "Reading or writing terminals does not work here.",
    "Please report this with the output of `layerd support`.",
);

/// Opens a simulated printer as a serial port, asks for temperatures; answers how long that took, and
/// whether a speed that is none of the usual ones could be set (emulators know only those).
pub async fn round_trip() -> Result<(Duration, bool), Fault> {
    let options = PtyOptions {
        sim: Options {
            boot: Duration::ZERO,
            ..Options::default()
        },
        ..PtyOptions::default()
    };
    let printer = SimPty::spawn(options).map_err(|e| NO_PTY.with_raw(e.to_string()))?;
    let roots = Roots::default();
    let (mut stream, any_speed) = match port::open(&printer.path(), 250_000, &roots) {
        Err(fault) if fault.code == "serial/baud-refused" => {
            (port::open(&printer.path(), 115_200, &roots)?, false)
        }
        opened => (opened?, true),
    };
    let asked = Instant::now();
    match tokio::time::timeout(LIMIT, ask(&mut stream)).await {
        Ok(Ok(())) => Ok((asked.elapsed(), any_speed)),
        Ok(Err(error)) => Err(NO_ANSWER.with_raw(error.to_string())),
        Err(_) => Err(NO_ANSWER.with_raw(format!("nothing within {} s", LIMIT.as_secs()))),
    }
}

async fn ask(stream: &mut tokio_serial::SerialStream) -> io::Result<()> {
    stream.write_all(b"M105\n").await?;
    let mut said = Vec::new();
    let mut buffer = [0; 256];
    while said.len() < ANSWER_MAX {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        said.extend_from_slice(buffer.get(..count).unwrap_or_default());
        if String::from_utf8_lossy(&said)
            .lines()
            .any(|line| line.starts_with("ok T:"))
        {
            return Ok(());
        }
    }
    Err(io::ErrorKind::InvalidData.into())
}

/// The serial ports in one line for people.
pub fn ports(roots: &Roots) -> String {
    let ports = list(roots);
    let allowed = ports
        .iter()
        .filter(|p| p.permission == Permission::Granted)
        .count();
    let free = ports.iter().filter(|p| p.holder.is_none()).count();
    match ports.len() {
        0 => "no serial ports here".to_owned(),
        n => format!("{n} found, {allowed} may be opened, {free} free"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_simulated_printer_answers_through_a_real_port() {
        let took = round_trip().await.expect("an answer");
        assert!(took.0 < LIMIT);
    }

    #[test]
    fn a_machine_without_ports_says_so() {
        assert_eq!(ports(&Roots::under("/nowhere-at-all")), "no serial ports here");
    }
}
