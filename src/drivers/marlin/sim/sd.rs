//! The SD card: files, a print from it, an upload to it.

use crate::sorted::SortedMap;

/// Largest file that an upload may make.
const FILE_MAX: usize = 64 * 1024 * 1024;

/// The card slot.
#[derive(Debug)]
pub(super) struct Card {
    /// `None`: no card.
    files: Option<SortedMap<String, Vec<u8>>>,
    selected: Option<(String, usize)>,
    printing: bool,
    writing: Option<(String, Vec<u8>)>,
}

impl Card {
    pub fn new(files: Option<Vec<(String, Vec<u8>)>>) -> Self {
        Card {
            files: files.map(|files| {
                files
                    .into_iter()
                    .map(|(name, content)| (name.to_ascii_uppercase(), content))
                    .collect()
            }),
            selected: None,
            printing: false,
            writing: None,
        }
    }

    pub fn is_present(&self) -> bool {
        self.files.is_some()
    }

    pub fn is_printing(&self) -> bool {
        self.printing
    }

    pub fn stop(&mut self) {
        self.printing = false;
        self.selected = None;
        self.writing = None;
    }

    pub fn pause(&mut self) -> bool {
        std::mem::take(&mut self.printing)
    }

    pub fn start(&mut self) -> bool {
        self.printing = self.selected.is_some();
        self.printing
    }

    pub fn seek(&mut self, to: usize) {
        if let Some((_, at)) = &mut self.selected {
            *at = to;
        }
    }

    /// M23: the answer lines.
    pub fn select(&mut self, name: &str) -> Vec<String> {
        let name = name.trim().trim_start_matches('/').to_ascii_uppercase();
        match self.files.as_ref().and_then(|files| files.get(&name)) {
            Some(content) => {
                let size = content.len();
                self.selected = Some((name.clone(), 0));
                vec![
                    format!("echo:Now fresh file: {name}"),
                    format!("File opened: {name} Size: {size}"),
                    "File selected".to_owned(),
                ]
            }
            None => vec![format!("open failed, File: {name}.")],
        }
    }

    /// M20.
    pub fn list(&self, long: bool) -> Vec<String> {
        let mut lines = vec!["Begin file list".to_owned()];
        for (name, content) in self.files.iter().flatten() {
            let mut line = format!("{name} {}", content.len());
            if long {
                line += &format!(" {}", name.to_ascii_lowercase());
            }
            lines.push(line);
        }
        lines.push("End file list".to_owned());
        lines
    }

    /// M27.
    pub fn status(&self) -> String {
        match (&self.selected, self.printing) {
            (Some((name, at)), true) => {
                let size = self.files.as_ref().and_then(|f| f.get(name)).map_or(0, Vec::len);
                format!("SD printing byte {at}/{size}")
            }
            _ => "Not SD printing".to_owned(),
        }
    }

    /// M27 C.
    pub fn current(&self) -> String {
        match &self.selected {
            Some((name, _)) => format!("Current file: {name} {}", name.to_ascii_lowercase()),
            None => "Current file: (no file)".to_owned(),
        }
    }

    /// M30.
    pub fn delete(&mut self, name: &str) -> String {
        let name = name.trim().trim_start_matches('/').to_ascii_uppercase();
        match self.files.as_mut().and_then(|files| files.remove(&name)) {
            Some(_) => format!("File deleted:{name}"),
            None => format!("Deletion failed, File: {name}."),
        }
    }

    /// M28.
    pub fn write(&mut self, name: &str) -> String {
        let name = name.trim().trim_start_matches('/').to_ascii_uppercase();
        if self.files.is_none() || name.is_empty() {
            return format!("open failed, File: {name}.");
        }
        self.writing = Some((name.clone(), Vec::new()));
        format!("Writing to file: {name}")
    }

    /// While a file is written, lines go there instead of being executed; M29 passes.
    pub fn take_line(&mut self, text: &str) -> bool {
        let Some((_, content)) = &mut self.writing else {
            return false;
        };
        if text.starts_with("M29") {
            return false;
        }
        if content.len() < FILE_MAX {
            content.extend_from_slice(text.as_bytes());
            content.push(b'\n');
        }
        true
    }

    /// M29.
    pub fn close(&mut self) -> bool {
        match self.writing.take() {
            Some((name, content)) => {
                self.files.get_or_insert_default().insert(name, content);
                true
            }
            None => false,
        }
    }

    /// The next command of the printing file.
    pub fn next_line(&mut self) -> Option<String> {
        if !self.printing {
            return None;
        }
        let (name, at) = self.selected.as_mut()?;
        let content = self.files.as_ref()?.get(name)?;
        loop {
            let rest = content.get(*at..).filter(|rest| !rest.is_empty())?;
            let length = memchr::memchr(b'\n', rest).map_or(rest.len(), |n| n + 1);
            *at += length;
            let line = String::from_utf8_lossy(rest.get(..length).unwrap_or(rest));
            let command = line.split(';').next().unwrap_or_default().trim();
            if !command.is_empty() {
                return Some(command.to_owned());
            }
        }
    }

    /// Whether the print has just come to its end.
    pub fn finish(&mut self) -> bool {
        let over = self.printing;
        if over {
            self.printing = false;
            self.selected = None;
        }
        over
    }
}
