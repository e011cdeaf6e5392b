//! How far something is, on one line of the terminal that is drawn over and over.

use std::io::Write as _;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::out;

/// Between two drawings.
const EVERY: Duration = Duration::from_millis(100);

/// Of the bar, in characters.
const WIDTH: usize = 32;

/// A bar; all clones draw the same one.
#[derive(Clone)]
pub struct Progress(Option<Arc<Mutex<Bar>>>);

struct Bar {
    done: u64,
    all: u64,
    unit: Unit,
    text: String,
    began: Instant,
    drawn: Option<Instant>,
    turn: usize,
}

#[derive(Clone, Copy)]
enum Unit {
    Bytes,
    Thousandths,
}

impl Progress {
    /// Nobody sees it.
    pub fn hidden() -> Self {
        Progress(None)
    }

    /// A bar on stderr, empty.
    pub fn shown() -> Self {
        Progress(Some(Arc::new(Mutex::new(Bar {
            done: 0,
            all: 1000,
            unit: Unit::Thousandths,
            text: String::new(),
            began: Instant::now(),
            drawn: None,
            turn: 0,
        }))))
    }

    fn bar(&self) -> Option<MutexGuard<'_, Bar>> {
        let bar = self.0.as_ref()?;
        Some(bar.lock().unwrap_or_else(|e| e.into_inner()))
    }

    /// From here on it counts so many bytes, from 0.
    pub fn begin_bytes(&self, all: u64, text: &str) {
        if let Some(mut bar) = self.bar() {
            (bar.done, bar.all, bar.unit) = (0, all, Unit::Bytes);
            bar.text = text.to_owned();
            bar.began = Instant::now();
            bar.draw();
        }
    }

    /// So many bytes more.
    pub fn add(&self, bytes: u64) {
        if let Some(mut bar) = self.bar() {
            bar.done += bytes;
            bar.draw();
        }
    }

    /// So many bytes in all.
    pub fn reach(&self, bytes: u64) {
        if let Some(mut bar) = self.bar() {
            bar.done = bytes;
            bar.draw();
        }
    }

    /// So many thousandths, and what there is to say.
    pub fn tell(&self, thousandths: u64, text: String) {
        if let Some(mut bar) = self.bar() {
            (bar.done, bar.all, bar.unit) = (thousandths, 1000, Unit::Thousandths);
            bar.text = text;
            bar.draw();
        }
    }

    /// Says something above the bar.
    pub fn above(&self, say: impl FnOnce()) {
        let bar = self.bar();
        if let Some(mut bar) = bar {
            clear();
            say();
            bar.drawn = None;
            bar.draw();
        } else {
            say();
        }
    }

    /// Takes it away.
    pub fn clear(&self) {
        if let Some(mut bar) = self.bar()
            && bar.drawn.take().is_some()
        {
            clear();
        }
    }
}

impl Bar {
    fn draw(&mut self) {
        let now = Instant::now();
        if self.drawn.is_some_and(|at| now.duration_since(at) < EVERY) {
            return;
        }
        self.drawn = Some(now);
        self.turn += 1;
        let columns = rustix::termios::tcgetwinsize(std::io::stderr()).map_or(80, |size| size.ws_col);
        // One that is wrapped cannot be drawn over.
        let most = usize::from(columns).saturating_sub(1);
        let line: String = self
            .line(now.duration_since(self.began))
            .chars()
            .take(most)
            .collect();
        let _ = write!(std::io::stderr().lock(), "\r\x1b[2K{line}");
    }

    fn line(&self, took: Duration) -> String {
        let spinner = ['-', '\\', '|', '/'].get(self.turn % 4).copied().unwrap_or(' ');
        let done = self.done.min(self.all);
        let share = done as f64 / self.all.max(1) as f64;
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of a small width"
        )]
        let filled = (share * WIDTH as f64) as usize;
        let arrow = if filled < WIDTH { ">" } else { "" };
        let bar = format!("{:WIDTH$}", "=".repeat(filled) + arrow);
        match self.unit {
            Unit::Thousandths => format!("{spinner} {bar} {}", self.text),
            Unit::Bytes => {
                let speed = done as f64 / took.as_secs_f64().max(0.001);
                let left_s = (self.all - done) as f64 / speed.max(1.0);
                let mib = |bytes: f64| bytes / f64::from(1 << 20);
                #[allow(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "for people; a cast saturates"
                )]
                let left = out::duration(left_s as u64);
                format!(
                    "{spinner} {} {bar} {:.1}/{:.1} MiB {:.1} MiB/s {left}",
                    self.text,
                    mib(done as f64),
                    mib(self.all as f64),
                    mib(speed),
                )
            }
        }
    }
}

fn clear() {
    let _ = write!(std::io::stderr().lock(), "\r\x1b[2K");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_grows_with_what_is_done() {
        let progress = Progress::shown();
        let line = || progress.bar().expect("shown").line(Duration::from_secs(2));
        progress.tell(0, "ready".to_owned());
        assert!(
            line().contains(&format!(" >{} ready", " ".repeat(31))),
            "{}",
            line()
        );
        progress.tell(500, "printing".to_owned());
        assert!(
            line().contains(&format!(" {}>{} printing", "=".repeat(16), " ".repeat(15))),
            "{}",
            line()
        );
        progress.tell(2000, "done".to_owned());
        assert!(
            line().contains(&format!(" {} done", "=".repeat(32))),
            "{}",
            line()
        );
        progress.begin_bytes(4 << 20, "uploading");
        progress.add(1 << 20);
        progress.add(1 << 20);
        let text = line();
        assert!(text.contains("uploading ================>"), "half of it: {text}");
        assert!(text.contains(" 2.0/4.0 MiB 1.0 MiB/s"), "{text}");
    }
}
