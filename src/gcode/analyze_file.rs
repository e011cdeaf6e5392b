//! Analysis of a file on the disk, whatever its container.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::analysis::{Analysis, Format, Object, ObjectSource, Thumbnail};
use super::analyze::{Analyzer, Options};
use super::container::threemf::Plate;
use super::container::{ContainerError, HEAD_LEN, bgcode, gx, gzip, sniff, threemf};
use super::index::Index;

/// Bytes read at a time.
const READ_LEN: usize = 64 * 1024;

/// Why a file could not be analyzed.
#[derive(Debug, thiserror::Error)]
pub enum AnalyzeError {
    /// It cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is no printable file, or a container that is damaged or hostile.
    #[error("{}: {why}", path.display())]
    Refused {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

impl AnalyzeError {
    pub(super) fn new(path: &Path, error: ContainerError) -> Self {
        let path = path.to_owned();
        match error {
            ContainerError::Read(source) => AnalyzeError::Read { path, source },
            other => AnalyzeError::Refused {
                path,
                why: other.to_string(),
            },
        }
    }
}

/// Analyzes a file. `progress` is told the bytes read so far and the size; it returns `false` to
/// stop, which ends in an [`AnalyzeError::Read`].
///
/// Reads in 64 KiB pieces and keeps a bounded state: a gigabyte takes no more memory than a
/// megabyte.
///
/// ```no_run
/// use std::path::Path;
/// use layerd_gcode::{analyze::Options, analyze_file::analyze_file};
///
/// let (analysis, index) = analyze_file(Path::new("benchy.gcode"), &Options::default(), &mut |_, _| true)?;
/// println!("{:?} layers, half done at layer {}", analysis.layers.count, index.layer_at(analysis.size / 2));
/// # Ok::<(), layerd_gcode::analyze_file::AnalyzeError>(())
/// ```
pub fn analyze_file(
    path: &Path,
    options: &Options,
    progress: &mut dyn FnMut(u64, u64) -> bool,
) -> Result<(Analysis, Index), AnalyzeError> {
    analyze(path, options, progress).map_err(|error| AnalyzeError::new(path, error))
}

fn analyze(
    path: &Path,
    options: &Options,
    progress: &mut dyn FnMut(u64, u64) -> bool,
) -> Result<(Analysis, Index), ContainerError> {
    let mut file = File::open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(ContainerError::Nothing("not a regular file"));
    }
    let size = meta.len();
    let mut head = Vec::new();
    file.by_ref().take(HEAD_LEN).read_to_end(&mut head)?;
    file.seek(SeekFrom::Start(0))?;
    let format = sniff(&head);
    let mut analyzer = Analyzer::new(*options);
    let hash = options.hash.then(Sha256::new);
    let mut input = Watched {
        file,
        hash,
        done: 0,
        size,
        progress,
    };
    let mut pictures = Vec::new();
    let (mut project, mut ahead) = (None, 0);
    match format {
        Format::Gcode => plain(&mut input, &mut analyzer)?,
        Format::GcodeGz => gzip::read(&mut input, size, &mut |chunk| analyzer.push(chunk))?,
        Format::Bgcode => {
            analyzer.in_container();
            let mut sink = Into {
                analyzer: &mut analyzer,
                pictures: &mut pictures,
            };
            bgcode::read(
                io::BufReader::with_capacity(READ_LEN, &mut input),
                size,
                &mut sink,
            )?;
        }
        Format::Gx => {
            analyzer.in_container();
            let header = gx::read_header(&mut input, size)?;
            plain(&mut input, &mut analyzer)?;
            facts_of_gx(&header, &mut analyzer);
            pictures.extend(header.picture.map(|(offset, bytes)| Thumbnail {
                format: "bmp".to_owned(),
                width: gx::PICTURE.0,
                height: gx::PICTURE.1,
                bytes,
                offset,
                entry: None,
            }));
            ahead = header.program;
        }
        Format::ThreeMf => {
            analyzer.in_container();
            let mut file = io::BufReader::new(&input.file);
            let read = threemf::read(&mut file, options.plate, &mut |chunk| analyzer.push(chunk))?;
            facts_of(&read, &mut analyzer);
            pictures.clone_from(&read.pictures);
            project = Some(read);
            // The zip was read by jumping about in it; the hash wants the bytes in order.
            input.file.seek(SeekFrom::Start(0))?;
        }
    }
    input.drain()?;
    let sha256 = input.hash.map(|hash| hex(&hash.finalize()));
    let (mut analysis, index) = analyzer.finish_with_index();
    analysis.file = path.file_name().map(|name| name.to_string_lossy().into_owned());
    analysis.size = size;
    analysis.sha256 = sha256;
    analysis.format = format;
    if let Some(project) = project {
        analysis.plate = Some(project.number);
        analysis.plates.clone_from(&project.plates);
        name_objects(&mut analysis, &project);
        for inner in &mut analysis.thumbnails {
            inner.entry = Some(threemf::program_of(project.number));
        }
    }
    for inner in &mut analysis.thumbnails {
        inner.offset += ahead;
    }
    // In binary G-code pictures are blocks; comments of its program have no place in the file.
    if format != Format::Bgcode {
        pictures.append(&mut analysis.thumbnails);
    }
    analysis.thumbnails = pictures;
    Ok((analysis, index))
}

/// A file that is hashed and whose reader is told about while it is read.
struct Watched<'a> {
    file: File,
    hash: Option<Sha256>,
    done: u64,
    size: u64,
    progress: &'a mut dyn FnMut(u64, u64) -> bool,
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = self.file.read(buffer)?;
        if let Some(hash) = &mut self.hash {
            hash.update(buffer.get(..got).unwrap_or_default());
        }
        self.done += got as u64;
        if got > 0 && !(self.progress)(self.done, self.size) {
            return Err(io::Error::other("stopped"));
        }
        Ok(got)
    }
}

impl Watched<'_> {
    /// Reads what nobody read, for the hash.
    fn drain(&mut self) -> io::Result<()> {
        if self.hash.is_some() {
            io::copy(self, &mut io::sink())?;
        }
        Ok(())
    }
}

fn plain(input: &mut Watched<'_>, analyzer: &mut Analyzer) -> io::Result<()> {
    let mut buffer = vec![0; READ_LEN];
    loop {
        match input.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(got) => analyzer.push(buffer.get(..got).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

struct Into<'a> {
    analyzer: &'a mut Analyzer,
    pictures: &'a mut Vec<Thumbnail>,
}

impl bgcode::Sink for Into<'_> {
    fn metadata(&mut self, key: &[u8], value: &[u8]) {
        let (key, value) = (String::from_utf8_lossy(key), String::from_utf8_lossy(value));
        if key == "Producer" {
            self.analyzer.producer(&value);
        } else {
            self.analyzer.fact(&key, &value);
        }
    }

    fn picture(&mut self, format: &'static str, width: u16, height: u16, offset: u64, bytes: u32) {
        if self.pictures.len() < 32 {
            self.pictures.push(Thumbnail {
                format: format.to_owned(),
                width: width.into(),
                height: height.into(),
                bytes: bytes.into(),
                offset,
                entry: None,
            });
        }
    }

    fn gcode(&mut self, text: &[u8]) {
        self.analyzer.push(text);
    }
}

/// What the project says about the plate, where the program itself does not.
fn facts_of(plate: &Plate, analyzer: &mut Analyzer) {
    if let Some(seconds) = plate.estimate_s {
        analyzer.fact("total estimated time", &seconds.to_string());
    }
    if let Some(model) = &plate.printer_model {
        analyzer.fact("printer_model", model);
    }
    let Some(last) = plate.filaments.iter().map(|f| f.slot).max() else {
        return;
    };
    let list = |of: &dyn Fn(&threemf::PlateFilament) -> Option<String>, separator: &str| {
        let by_slot = |slot| {
            plate
                .filaments
                .iter()
                .find(|f| f.slot == slot)
                .and_then(of)
                .unwrap_or_default()
        };
        (0..=last).map(by_slot).collect::<Vec<_>>().join(separator)
    };
    analyzer.fact(
        "filament used [mm]",
        &list(&|f| f.mm.map(|mm| mm.to_string()), ","),
    );
    analyzer.fact("filament used [g]", &list(&|f| f.g.map(|g| g.to_string()), ","));
    analyzer.fact("filament_type", &list(&|f| f.material.clone(), ";"));
    analyzer.fact("filament_colour", &list(&|f| f.color.clone(), ";"));
}

/// What the header says and the program itself does not.
fn facts_of_gx(header: &gx::Header, analyzer: &mut Analyzer) {
    if let Some(seconds) = header.print_s {
        analyzer.fact("total estimated time", &seconds.to_string());
    }
    if let Some(mm) = header.layer_mm {
        analyzer.fact("layer_height", &mm.to_string());
    }
    let [right, left] = header.filament_mm;
    if right > 0 || left > 0 {
        analyzer.fact("filament used [mm]", &format!("{right},{left}"));
    }
}

/// Names from the project; where the program marks nothing, the project's boxes.
fn name_objects(analysis: &mut Analysis, plate: &Plate) {
    for object in &mut analysis.objects {
        if object.source == ObjectSource::Bambu
            && let Some(known) = plate.objects.iter().find(|o| o.id == object.id)
        {
            object.name.clone_from(&known.name);
        }
    }
    if analysis.objects.is_empty() {
        analysis.objects = plate
            .objects
            .iter()
            .map(|known| Object {
                id: known.id,
                name: known.name.clone(),
                key: known.id.to_string(),
                center: known
                    .bbox
                    .map(|[x0, y0, x1, y1]| [(x0 + x1) / 2.0, (y0 + y1) / 2.0]),
                polygon: known.bbox.map_or_else(Vec::new, |[x0, y0, x1, y1]| {
                    vec![[x0, y0], [x1, y0], [x1, y1], [x0, y1]]
                }),
                bbox: known.bbox,
                source: ObjectSource::Bambu,
                ..Object::default()
            })
            .collect();
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
